// SPDX-License-Identifier: Apache-2.0
/**
 * Connections by which calls are passed on to other members (ports/relay.ts: Relay), one at most to each:
 *
 *   none --a call--> dialling --its SETTINGS have come--> open --no call for IDLE_MS, or any end--> none
 *
 * Bounded: calls in all and of one member, connections, and what each call has unread (relay-wire.ts). Nobody waits for a
 * place: who comes when all are taken is told so. A call that is over by the end of its connection has failed.
 */
import type { ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { RelayError } from '../../../ports/relay.js';
import type { MeshTls } from '../identity/mesh-tls.js';
import { type MeshTarget, textOf } from './mesh-dial.js';
import { type MeshProtocol, type MeshSession, openMeshSession } from './mesh-session.js';
import { RELAY_PROTOCOL, RELAY_STREAMS, RELAY_WINDOW_BYTES } from './relay-wire.js';

export interface RelayLinksOptions {
  readonly mesh: MeshTls;
  /** undefined: it is no member. */
  readonly addressOf: (nodeId: string) => MeshTarget | undefined;
  /** For messages. */
  readonly nameOf: (nodeId: string) => string;
  readonly logger: { debug(fields: object, message: string): void; info(fields: object, message: string): void };
  readonly limits?: Partial<RelayLimits> | undefined;
}

export interface RelayLimits {
  readonly callsMax: number;
  readonly callsPerNodeMax: number;
  readonly connectionsMax: number;
  /** Until a dialled connection stands. */
  readonly dialMs: number;
  /** A dead connection is noticed within twice this. */
  readonly pingMs: number;
  /** A connection without a call is closed after this. */
  readonly idleMs: number;
}

export const RELAY_LIMITS: RelayLimits = {
  callsMax: 4_096,
  callsPerNodeMax: RELAY_STREAMS,
  connectionsMax: 1_024,
  dialMs: 5_000,
  pingMs: 5_000,
  idleMs: 60_000,
};

const PROTOCOL: MeshProtocol = {
  name: RELAY_PROTOCOL,
  memoryMib: 64,
  // Trailers have up to 8 KiB of violations in them, in base64.
  headerBytes: 32 * 1024,
  windowBytes: RELAY_WINDOW_BYTES,
};

interface Link {
  readonly nodeId: string;
  readonly opened: Promise<MeshSession>;
  session: MeshSession | undefined;
  calls: number;
  idle: NodeJS.Timeout | undefined;
  /** Why it was ended from here. */
  reason: string | undefined;
}

export class RelayLinks {
  readonly #options: RelayLinksOptions;
  readonly #limits: RelayLimits;
  readonly #links = new Map<string, Link>();
  readonly #over = new AbortController();
  #calls = 0;

  constructor(options: RelayLinksOptions) {
    this.#options = options;
    this.#limits = { ...RELAY_LIMITS, ...options.limits };
  }

  /** That are open now. */
  get counts(): { readonly calls: number; readonly connections: number } {
    return { calls: this.#calls, connections: this.#links.size };
  }

  /** As ports/relay.ts: Relay. The stream ends with an error, or without its end, when its connection does. */
  async call(nodeId: string, headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<ClientHttp2Stream> {
    const { addressOf, nameOf } = this.#options;
    const target = addressOf(nodeId);
    if (target === undefined) {
      throw new RelayError('unknown-node', `there is no member ${nodeId}: marcher mesh members lists those there are`);
    }
    const { callsMax, callsPerNodeMax } = this.#limits;
    if (this.#calls >= callsMax) throw full(`${callsMax} calls are being passed on to other nodes`);
    const link = this.#linkTo(nodeId, target);
    const most = Math.min(callsPerNodeMax, link.session?.http2.remoteSettings.maxConcurrentStreams ?? callsPerNodeMax);
    if (link.calls >= most) throw full(`${most} calls are being passed on to node ${nameOf(nodeId)}`);
    const release = this.#hold(link);
    try {
      const { http2 } = await unlessAborted(link.opened, signal);
      const stream = http2.request(headers, { endStream: false });
      stream.once('close', release);
      return stream;
    } catch (error) {
      release();
      if (signal.aborted) throw signal.reason;
      throw failure(error, `node ${nameOf(nodeId)} (${textOf(target)})`, link.reason);
    }
  }

  /** Who is not among these is no member any more: its calls end. */
  keep(members: ReadonlySet<string>): void {
    for (const link of this.#links.values()) {
      if (!members.has(link.nodeId)) this.#end(link, 'it is not in the mesh any more');
    }
  }

  /** To be called after each MeshTls.update(): who would be refused now is closed. */
  judgeAgain(): void {
    for (const link of this.#links.values()) {
      if (link.session === undefined) continue;
      const verdict = this.#options.mesh.judge(link.session.socket, 'server', link.nodeId);
      if (verdict.kind === 'refused') this.#end(link, verdict.reason);
    }
  }

  close(): void {
    this.#over.abort(new Error('this agent is stopping'));
    for (const link of this.#links.values()) this.#end(link, 'this agent is stopping');
  }

  #linkTo(nodeId: string, target: MeshTarget): Link {
    const there = this.#links.get(nodeId);
    if (there !== undefined && there.session?.http2.closed !== true) return there;
    if (this.#links.size >= this.#limits.connectionsMax) this.#makeRoom();
    return this.#dial(nodeId, target);
  }

  /** By the one that has been without a call for longest. */
  #makeRoom(): void {
    const idle = [...this.#links.values()].find(({ calls }) => calls === 0);
    if (idle === undefined) throw full(`calls are being passed on to ${this.#limits.connectionsMax} other nodes`);
    this.#end(idle, 'another node is called');
  }

  #dial(nodeId: string, target: MeshTarget): Link {
    const { mesh, logger } = this.#options;
    const { dialMs, pingMs } = this.#limits;
    const { signal } = this.#over;
    const opened = openMeshSession(target, { tls: mesh.dialOptions(nodeId), timeoutMs: dialMs, signal }, PROTOCOL);
    const link: Link = { nodeId, opened, session: undefined, calls: 0, idle: undefined, reason: undefined };
    const fields = { peer: nodeId, address: textOf(target) };
    this.#links.set(nodeId, link);
    const gone = (): void => {
      clearTimeout(link.idle);
      if (this.#links.get(nodeId) === link) this.#links.delete(nodeId);
    };
    opened.then(
      (session) => {
        link.session = session;
        session.http2.once('close', () => {
          gone();
          logger.debug({ ...fields, reason: link.reason }, 'a connection for calls that are passed on is over');
        });
        // It was ended while it was dialled.
        if (link.reason !== undefined) session.http2.destroy();
        this.#ask(link, session, pingMs);
        logger.debug(fields, 'connected to a node, to pass calls on');
      },
      (error: unknown) => {
        gone();
        logger.info({ ...fields, error: reasonOf(error) }, "can't connect to a node, to pass a call on");
      },
    );
    return link;
  }

  #ask(link: Link, { http2 }: MeshSession, everyMs: number): void {
    let waiting = false;
    const timer = setInterval(() => {
      if (http2.closed || http2.destroyed) return;
      if (waiting) {
        this.#end(link, 'it does not answer any more');
        return;
      }
      waiting = http2.ping(() => {
        waiting = false;
      });
    }, everyMs);
    timer.unref();
    http2.once('close', () => clearInterval(timer));
  }

  #hold(link: Link): () => void {
    clearTimeout(link.idle);
    link.calls += 1;
    this.#calls += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      link.calls -= 1;
      this.#calls -= 1;
      if (link.calls > 0 || this.#links.get(link.nodeId) !== link) return;
      // Last among those that make room.
      this.#links.delete(link.nodeId);
      this.#links.set(link.nodeId, link);
      link.idle = setTimeout(() => this.#end(link, 'there was no call for a while'), this.#limits.idleMs);
      link.idle.unref();
    };
  }

  #end(link: Link, reason: string): void {
    link.reason ??= reason;
    clearTimeout(link.idle);
    if (this.#links.get(link.nodeId) === link) this.#links.delete(link.nodeId);
    link.session?.http2.destroy(link.calls === 0 ? undefined : new Error(reason));
  }
}

function full(what: string): RelayError {
  return new RelayError('full', `${what}: close some, or try again later`);
}

function failure(error: unknown, node: string, ended: string | undefined): RelayError {
  if (error instanceof RelayError) return error;
  if (isTooOld(error)) {
    const reason = 'its agent is of a version that takes no calls by way of others: call it itself, or upgrade it';
    return new RelayError('too-old', `${node}: ${reason}`);
  }
  return new RelayError('unreachable', `${node} can't be reached from here: ${ended ?? reasonOf(error)}`);
}

/** It has no protocol of that name. RFC 7301, 3.2. */
function isTooOld(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL';
}

/** What goes on is for others who wait for it, too. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
