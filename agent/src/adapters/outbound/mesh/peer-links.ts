// SPDX-License-Identifier: Apache-2.0
/**
 * Connections to other nodes (ports/mesh.ts: PeerLinks): one at most to each, dialled when something waits for the node, and
 * again after a pause that doubles with each failure. What waits is kept by the exchange, within its own bounds.
 */
import { nodeIdOf } from '../../../domain/identity/names.js';
import { Backoff } from '../../../domain/replication/backoff.js';
import type { NodeId } from '../../../domain/replication/contract.js';
import type { Exchange, PeerLinks } from '../../../ports/mesh.js';
import { type MeshTls, refusalOf } from '../identity/mesh-tls.js';
import { type MeshTarget, textOf, UnheardError } from './mesh-dial.js';
import { PeerLink } from './peer-link.js';

export interface LinkLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface LinkTimes {
  /** Until a dialled connection stands. */
  readonly dialMs: number;
  /** Dead connections are noticed within three times this. */
  readonly pingMs: number;
  /** The pause after the first failure, and the longest one. */
  readonly pauseMs: number;
  readonly pauseMaxMs: number;
  /** After a connection that lasted so long, failures are counted from the beginning. */
  readonly heldMs: number;
  /** What still waits at the end has so long. */
  readonly closeMs: number;
}

const TIMES: LinkTimes = {
  dialMs: 10_000,
  pingMs: 4_000,
  pauseMs: 200,
  pauseMaxMs: 30_000,
  heldMs: 10_000,
  closeMs: 1_000,
};

export interface PeerLinksOptions {
  readonly mesh: MeshTls;
  /** This node. */
  readonly self: NodeId;
  /** undefined: not known (yet). */
  readonly addressOf: (node: NodeId) => MeshTarget | undefined;
  readonly exchange: Pick<Exchange, 'take' | 'waiting' | 'disconnected'>;
  readonly logger: LinkLogger;
  /** One of the two does not believe the other's certificate: roots may have changed. */
  readonly distrusted?: ((node: NodeId) => void) | undefined;
  readonly times?: Partial<LinkTimes> | undefined;
  readonly monotonicMs?: () => number;
  readonly random?: () => number;
}

export interface JudgedPeerLinks extends PeerLinks {
  /** To be called after each MeshTls.update(), and when a root is retired: who would be refused now is closed. */
  judgeAgain(): void;
  /** Of these, streams are open. */
  readonly connected: number;
}

export function createPeerLinks(options: PeerLinksOptions): JudgedPeerLinks {
  const { mesh, self, addressOf, exchange, logger } = options;
  const { monotonicMs = () => performance.now(), random = Math.random } = options;
  const times = { ...TIMES, ...options.times };
  const links = new Map<NodeId, PeerLink>();
  const pauses = new Map<NodeId, NodeJS.Timeout>();
  /** Of which a failure is in the log, and no success since. */
  const failing = new Set<NodeId>();
  const backoff = new Backoff(times.pauseMs, times.pauseMaxMs, random);
  let closed = false;

  function flush(): void {
    if (closed) return;
    for (const node of exchange.waiting()) {
      const link = links.get(node);
      if (link !== undefined) link.wake();
      else if (node !== self && !pauses.has(node)) dial(node);
    }
  }

  function dial(node: NodeId): void {
    const target = addressOf(node);
    if (target === undefined) return;
    const nodeId = nodeIdOf(node);
    const fields = { peer: nodeId, address: textOf(target) };
    let openedMs: number | undefined;
    const link = new PeerLink({
      target,
      tls: mesh.dialOptions(nodeId),
      timeoutMs: times.dialMs,
      pingMs: times.pingMs,
      take: () => exchange.take(node),
      opened() {
        openedMs = monotonicMs();
        failing.delete(node);
        logger.info(fields, 'connected to a node');
      },
      ended(error) {
        links.delete(node);
        const now = monotonicMs();
        if (openedMs !== undefined && now - openedMs >= times.heldMs) backoff.succeeded(node);
        backoff.failed(node, now);
        const detail = { ...fields, refusal: refusalOf(error), error: reasonOf(error) };
        if (openedMs !== undefined) logger.info(detail, 'a connection to a node is over');
        else if (failing.has(node)) logger.debug(detail, "still can't connect to a node");
        else logger.warn(detail, "can't connect to a node: it is tried again, at longer and longer intervals");
        if (openedMs === undefined) failing.add(node);
        if (openedMs === undefined && isDistrust(error)) options.distrusted?.(node);
        pause(node, backoff.overAtMs(node) - now);
        if (openedMs !== undefined) exchange.disconnected(node);
      },
    });
    links.set(node, link);
  }

  function pause(node: NodeId, ms: number): void {
    const timer = setTimeout(() => {
      pauses.delete(node);
      flush();
    }, ms);
    timer.unref();
    pauses.set(node, timer);
  }

  return {
    flush,
    get connected() {
      return [...links.values()].filter(({ socket }) => socket !== undefined).length;
    },
    keep(nodes) {
      for (const [node, link] of links) {
        if (nodes.has(node)) continue;
        links.delete(node);
        link.destroy();
      }
      for (const [node, timer] of pauses) {
        if (nodes.has(node)) continue;
        clearTimeout(timer);
        pauses.delete(node);
      }
      for (const node of failing) if (!nodes.has(node)) failing.delete(node);
      backoff.keep(nodes);
    },
    judgeAgain() {
      for (const [node, link] of links) {
        if (link.socket === undefined) continue;
        const verdict = mesh.judge(link.socket, 'server', nodeIdOf(node));
        if (verdict.kind === 'refused') link.fail(new Error(verdict.reason));
      }
    },
    async close() {
      closed = true;
      for (const timer of pauses.values()) clearTimeout(timer);
      pauses.clear();
      const timer = setTimeout(() => {
        for (const link of links.values()) link.destroy();
      }, times.closeMs);
      await Promise.all(Array.from(links.values(), (link) => link.finish()));
      clearTimeout(timer);
      links.clear();
    },
  };
}

function isDistrust(error: unknown): boolean {
  return error instanceof UnheardError || refusalOf(error) === 'wrong-ca';
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
