// SPDX-License-Identifier: Apache-2.0
/** Nodes for tests: real replicas in memory, with real links over TLS on loopback, and wires between them that break. */
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished, vi } from 'vitest';
import { NO_REVOCATIONS, type Revocations } from '../../../../domain/identity/revocation.js';
import type { Message, NodeId } from '../../../../domain/replication/contract.js';
import { MemoryStore } from '../../../../domain/replication/memory-store.js';
import { EXISTENCE } from '../../../../domain/replication/object.js';
import { Replica } from '../../../../domain/replication/replica.js';
import type { CertificateAuthority } from '../../../../ports/identity.js';
import type { Admit } from '../../../../ports/mesh.js';
import { createMeshServer, type MeshServer, type MeshServerOptions } from '../../../inbound/mesh/mesh-server.js';
import { MeshTls, type MeshTlsMaterial } from '../../identity/mesh-tls.js';
import { rootOf, testNode } from '../../identity/testing/mesh.js';
import type { MeshTarget } from '../mesh-dial.js';
import { createPeerLinks, type JudgedPeerLinks, type LinkTimes } from '../peer-links.js';

export const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const now = (): number => Date.now();

/** Until it holds, on a machine that is busy as well. */
export function soon(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 10_000, interval: 5 });
}

export function idOf(node: NodeId): string {
  return node.toString(16).padStart(16, '0');
}

export interface TestIdentity {
  readonly node: NodeId;
  readonly serial: string;
  readonly mesh: MeshTls;
  revoke(revocations: Revocations): void;
}

export async function identity(authority: CertificateAuthority, node: NodeId): Promise<TestIdentity> {
  const { serial, ...credentials } = await testNode(authority, idOf(node), now());
  const { id: meshId } = authority.mesh;
  const material: MeshTlsMaterial = { meshId, credentials, roots: [rootOf(authority)], revocations: NO_REVOCATIONS };
  const mesh = new MeshTls(material, now);
  return { node, serial, mesh, revoke: (revocations) => mesh.update({ ...material, revocations }) };
}

/** A mesh port that tells what came. */
export interface TestServer {
  readonly server: MeshServer;
  readonly port: number;
  readonly received: { readonly from: NodeId; readonly message: Message }[];
  readonly lines: { readonly refusal?: string; readonly reason?: string; readonly count?: number }[];
}

export async function openServer(
  { mesh }: TestIdentity,
  options: Partial<MeshServerOptions> & { readonly admit?: Admit } = {},
): Promise<TestServer> {
  const received: TestServer['received'] = [];
  const lines: TestServer['lines'] = [];
  const logger = { ...SILENT, warn: (fields: object) => void lines.push(fields) };
  const receive = (from: NodeId, message: Message): void => void received.push({ from, message });
  const server = createMeshServer({ mesh, receive, logger, ...options });
  onTestFinished(() => server.close());
  const { port } = await server.listen('127.0.0.1', 0);
  return { server, port, received, lines };
}

/** A TCP relay to a port, that can be cut, and can carry nothing for a while. */
export class Wire {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #frozen = false;
  to = 0;
  port = 0;
  opened = 0;

  static async open(): Promise<Wire> {
    const wire = new Wire();
    const server = createServer({ noDelay: true }, (near) => wire.#carry(near));
    onTestFinished(() => {
      server.close();
      wire.cut();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    wire.port = (server.address() as AddressInfo).port;
    return wire;
  }

  get target(): MeshTarget {
    return { host: '127.0.0.1', port: this.port };
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** Both ends stay open, and hear nothing of each other any more. */
  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    this.cut();
  }

  #carry(near: Socket): void {
    this.opened += 1;
    const far = connect({ host: '127.0.0.1', port: this.to, noDelay: true });
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near] as const]) {
      from.on('data', (data) => {
        if (!this.#frozen) to.write(data);
      });
      from.on('error', () => {});
      from.once('close', () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
    }
  }
}

export const QUICK: Partial<LinkTimes> = { pauseMs: 10, pauseMaxMs: 100, pingMs: 500, closeMs: 1_000, dialMs: 10_000 };

export class LiveNode {
  readonly identity: TestIdentity;
  readonly #disk: MemoryStore;
  readonly #wires: ReadonlyMap<NodeId, Wire>;
  replica!: Replica;
  server!: MeshServer;
  links!: JudgedPeerLinks;
  #timer: NodeJS.Timeout | undefined;
  #up = false;

  /** wires: by which it reaches the others. */
  constructor(identityOf: TestIdentity, wires: ReadonlyMap<NodeId, Wire>) {
    this.identity = identityOf;
    this.#disk = new MemoryStore();
    this.#wires = wires;
    onTestFinished(() => this.stop());
  }

  /** On what port it is to be reached. */
  async start(members: readonly NodeId[]): Promise<number> {
    const { node, mesh } = this.identity;
    const environment = {
      wallMs: now,
      monotonicMs: () => performance.now(),
      random: Math.random,
      hash: (bytes: Uint8Array) => hash('sha256', bytes, 'buffer'),
      sign: () => new Uint8Array(8),
      verify: () => true,
    };
    const settings = { roundMs: 150, newsMs: 10, graftAfterMs: 30, graftAgainMs: 100 };
    this.replica = new Replica({ node, store: this.#disk, environment, settings, founds: true });
    this.links = createPeerLinks({
      mesh,
      self: node,
      addressOf: (peer) => this.#wires.get(peer)?.target,
      exchange: {
        take: (peer) => this.replica.take(peer),
        waiting: () => this.replica.waiting(),
        disconnected: (peer) => this.act((replica) => replica.disconnected(peer)),
      },
      logger: SILENT,
      times: QUICK,
    });
    const receive = (from: NodeId, message: Message): void => this.act((replica) => replica.receive(from, message));
    this.server = createMeshServer({ mesh, logger: SILENT, receive });
    this.#up = true;
    const { port } = await this.server.listen('127.0.0.1', 0);
    this.act((replica) => replica.setMembers(members.map((member) => ({ node: member, alive: true }))));
    return port;
  }

  act<T>(what: (replica: Replica) => T): T {
    const result = what(this.replica);
    this.replica.events();
    if (this.#up) {
      this.links.flush();
      clearTimeout(this.#timer);
      const ms = Math.max(1, this.replica.nextDueMs() - performance.now());
      this.#timer = setTimeout(() => this.act((replica) => replica.tick()), ms);
    }
    return result;
  }

  write(name: string, value = name): void {
    const bytes = new TextEncoder().encode(value);
    const writes = [
      { kind: 'service', id: name, group: EXISTENCE, value: new Uint8Array(0) },
      { kind: 'service', id: name, group: 'spec', value: bytes },
    ];
    const result = this.act((replica) => replica.write({ author: 'test', message: '', writes }));
    if (!result.ok) throw new Error(result.reason);
  }

  /** Names of what is there. */
  names(): string {
    const cells = this.#disk.cells().filter(({ group }) => group === EXISTENCE);
    return cells.map(({ id }) => id).join(' ');
  }

  async stop(): Promise<void> {
    if (!this.#up) return;
    this.#up = false;
    clearTimeout(this.#timer);
    await this.links.close();
    await this.server.close();
  }
}

/** Each reaches each by a wire of its own: wires by "from>to". */
export async function liveMesh(
  authority: CertificateAuthority,
  count: number,
): Promise<{ readonly nodes: readonly LiveNode[]; readonly wires: ReadonlyMap<string, Wire>; readonly ids: NodeId[] }> {
  const ids = Array.from({ length: count }, (_, at) => BigInt(at + 1));
  const wires = new Map<string, Wire>();
  const nodes: LiveNode[] = [];
  for (const from of ids) {
    const mine = new Map<NodeId, Wire>();
    for (const to of ids) {
      if (from === to) continue;
      const wire = await Wire.open();
      wires.set(`${from}>${to}`, wire);
      mine.set(to, wire);
    }
    nodes.push(new LiveNode(await identity(authority, from), mine));
  }
  for (const node of nodes) await startAt(node, ids, wires);
  return { nodes, wires, ids };
}

/** Its port is a new one each time. */
export async function startAt(node: LiveNode, ids: readonly NodeId[], wires: ReadonlyMap<string, Wire>): Promise<void> {
  const port = await node.start(ids);
  for (const from of ids) {
    const wire = wires.get(`${from}>${node.identity.node}`);
    if (wire !== undefined) wire.to = port;
  }
}
