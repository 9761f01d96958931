// SPDX-License-Identifier: Apache-2.0
/** Agents' parts in a mesh, for tests: real TLS, gossip and SQLite, on loopback, each in a directory of its own. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lan } from '@marcher/swim';
import { expect, vi } from 'vitest';
import { readCertificate } from '../../adapters/outbound/identity/certificate-facts.js';
import type { MeshTlsMaterial } from '../../adapters/outbound/identity/mesh-tls.js';
import { freePortPair } from '../../adapters/outbound/mesh/testing/free-ports.js';
import { type OpenedStore, openStore } from '../../adapters/outbound/sqlite/open-store.js';
import type { NodeRole } from '../../domain/identity/join-token.js';
import { Mesh } from '../../mesh.js';
import type { Caller } from '../../ports/use-cases.js';

export const CALLER: Caller = { author: 'ada', origin: 'api' };
export const PATIENCE = { timeout: 20_000, interval: 20 };

export interface Machine {
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly opened: OpenedStore;
  readonly mesh: Mesh;
  /** What it shows to operators elsewhere, and whom it believes, in turn. */
  readonly material: MeshTlsMaterial[];
  readonly log: string[];
  stop(): Promise<void>;
}

const hidden = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

export class Machines {
  readonly root = mkdtempSync(join(tmpdir(), 'marcher-mesh-ca-'));
  #running: Machine[] = [];

  /** contact: the port of the one whose token giveToken() has left. */
  async start(name: string, given: { readonly port?: number; readonly contact?: number } = {}): Promise<Machine> {
    const dir = join(this.root, name);
    const { port = await freePortPair(), contact } = given;
    const opened = openStore(dir, 0);
    const log: string[] = [];
    const say = (fields: object, message: string): void =>
      void log.push(`${message} ${JSON.stringify(fields, hidden)}`);
    const material: MeshTlsMaterial[] = [];
    const tokenFile = join(this.root, `${name}.token`);
    const mesh = new Mesh({
      settings: {
        address: { host: '127.0.0.1', port },
        join: contact === undefined ? undefined : { host: '127.0.0.1', port: contact, tokenFile },
        caKeyFile: join(dir, 'ca.key'),
      },
      stateDir: dir,
      nodeName: name,
      store: opened.store,
      // What is said of members goes out at once: most of what it takes to stop a node is waiting for that.
      gossipTuning: { ...lan, gossipIntervalMs: 20 },
      keepKeysMs: 100,
      settleRootsMs: 0,
      follow: async () => undefined,
      exclusively: (work) => work(),
      observe: () => Promise.reject(new Error('there is nothing to be said')),
      backends: () => 0,
      onMaterial: (now) => void material.push(now),
      log: { debug: say, info: say, warn: say, error: say },
    });
    await mesh.load();
    await mesh.start();
    const stop = async (): Promise<void> => {
      this.#running = this.#running.filter((other) => other !== machine);
      await mesh.stop();
      opened.close();
    };
    const machine: Machine = { name, dir, port, opened, mesh, material, log, stop };
    this.#running.push(machine);
    return machine;
  }

  /** One that is to sign has the key file of that machine. */
  giveToken(from: Machine, name: string, role: NodeRole = 'member'): void {
    const { text } = from.mesh.createToken({ role, lifetimeMs: 600_000 }, CALLER);
    writeFileSync(join(this.root, `${name}.token`), `${text}\n`);
    if (role === 'member') return;
    mkdirSync(join(this.root, name), { mode: 0o700 });
    writeFileSync(join(this.root, name, 'ca.key'), readFileSync(join(from.dir, 'ca.key')), { mode: 0o600 });
  }

  async joined(first: Machine, name: string): Promise<Machine> {
    const machine = await this.start(name, { contact: first.port });
    await vi.waitFor(() => expect([name, machine.mesh.status().admitted]).toEqual([name, true]), PATIENCE);
    return machine;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((machine) => machine.stop()));
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Key id of what has signed the certificate that it shows. */
export function issuerOf({ dir }: Machine): string {
  const text = readFileSync(join(dir, 'identity', 'node'), 'utf8');
  return readCertificate(text.slice(text.indexOf('-----BEGIN CERTIFICATE'))).issuerKeyId;
}
