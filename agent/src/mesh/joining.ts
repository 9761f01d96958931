// SPDX-License-Identifier: Apache-2.0
/** A machine that was started with --join, until it is a node: by a token, at the node that made it. */
import { readFileSync, statSync } from 'node:fs';
import { openFrameSigner } from '../adapters/outbound/mesh/frame-keys.js';
import { hostPortText } from '../adapters/outbound/mesh/host-port.js';
import { join as joinMesh } from '../adapters/outbound/mesh/join-client.js';
import type { MeshSettings } from '../config.js';
import type { IdentityFiles } from '../mesh-identity.js';
import { IdentityError } from '../ports/identity.js';
import { gossipOf } from './addresses.js';
import { openPart } from './opening.js';
import type { MeshOptions, Part } from './part.js';
import { run } from './running.js';
import { Timers } from './timers.js';

const ASK_MS = 10_000;
const PAUSE = { firstMs: 1_000, mostMs: 30_000 } as const;
const TOKEN_FILE_MAX_BYTES = 4_096;

export interface JoiningOptions {
  readonly options: MeshOptions;
  readonly files: IdentityFiles;
  readonly contact: NonNullable<MeshSettings['join']>;
  /** It has its identity: from now on this is the node's part, though it may not be able to listen yet. */
  readonly opened: (part: Part) => void;
}

export class Joining {
  readonly #options: JoiningOptions;
  readonly #timers = new Timers();
  #part: Part | undefined;
  #failure = '';

  constructor(options: JoiningOptions) {
    this.#options = options;
  }

  /** Why this node is not in the mesh that it is to join; empty: it is, or it is on its way. */
  get failure(): string {
    return this.#failure;
  }

  start(): void {
    this.#inTurn(PAUSE.firstMs);
  }

  stop(): void {
    this.#timers.stop();
  }

  #inTurn(pauseMs: number): void {
    void this.#attempt().then((done) => {
      if (!done) this.#timers.after(pauseMs, () => this.#inTurn(Math.min(2 * pauseMs, PAUSE.mostMs)));
    });
  }

  /** Whether there is nothing left to try. */
  async #attempt(): Promise<boolean> {
    const { options, contact, opened } = this.#options;
    const { log, store } = options;
    if (this.#part === undefined && (store.count() > 0 || store.objects().length > 0)) {
      const fix = 'keep it with marcher export, remove it, and apply what is still wanted once this node has joined';
      return this.#fail(`this node has a configuration of its own, which the mesh's would replace: ${fix}`, false);
    }
    try {
      if (this.#part === undefined) {
        this.#part = await this.#redeemed();
        if (this.#timers.stopped) return true;
        opened(this.#part);
      }
      // It may have its identity already, and not have been able to listen.
      await run(this.#part);
      this.#failure = '';
      const { mesh, nodeId } = this.#part.identity;
      log.info({ mesh: mesh.name, node: nodeId, contact: hostPortText(contact) }, 'this node has joined the mesh');
      return true;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // A token that is refused stays so; who is not there yet may come.
      return this.#fail(reason, error instanceof IdentityError && error.code === 'refused');
    }
  }

  #fail(reason: string, final: boolean): boolean {
    const { options, contact } = this.#options;
    if (reason !== this.#failure) {
      options.log.error({ reason, contact: hostPortText(contact) }, 'could not join the mesh');
    }
    this.#failure = reason;
    return final;
  }

  /** What the token gives, on disk. */
  async #redeemed(): Promise<Part> {
    const { options, files, contact } = this.#options;
    const { address } = options.settings;
    const token = tokenOf(contact.tokenFile);
    const signer = openFrameSigner(files.directory);
    const request = {
      token,
      address: hostPortText(contact),
      name: options.nodeName,
      meshAddress: hostPortText(address),
      gossipAddress: hostPortText(gossipOf(address)),
      frameKey: signer.publicKey,
      claim: (keyPem: string) => signer.claim(keyPem),
      timeoutMs: ASK_MS,
    };
    const { grant, privateKeyPem } = await joinMesh(request, Date.now);
    // Of a mesh that this node was in before, should anything be left.
    options.store.forgetReplica();
    files.join(grant, privateKeyPem);
    const identity = await files.load();
    if (identity === undefined) throw new IdentityError('io', 'what was written is not there');
    return openPart(options, files, identity, false);
  }
}

function tokenOf(path: string): string {
  try {
    if (statSync(path).size > TOKEN_FILE_MAX_BYTES) throw new Error('it is too large to be a token');
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new IdentityError('missing', `the join token can't be read from ${path}: ${reason}`);
  }
}
