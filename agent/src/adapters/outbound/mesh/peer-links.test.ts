// SPDX-License-Identifier: Apache-2.0
/** Links over real TLS on loopback: replicas that converge by them, and what goes wrong on the way. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Message, NodeId } from '../../../domain/replication/contract.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import { createMeshListener } from '../identity/mesh-listener.js';
import { testAuthority } from '../identity/testing/mesh.js';
import type { MeshTarget } from './mesh-dial.js';
import { createPeerLinks, type JudgedPeerLinks, type LinkTimes } from './peer-links.js';
import { LENGTH_BYTES, REPLICA_PROTOCOL } from './replica-wire.js';
import {
  identity,
  liveMesh,
  openServer,
  QUICK,
  SILENT,
  soon,
  startAt,
  type TestIdentity,
  Wire,
} from './testing/live-mesh.js';

let authority: CertificateAuthority;
let one: TestIdentity;
let two: TestIdentity;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
  [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
});

/** What a link asks of a replica, by hand. */
class Outgoing {
  readonly waits = new Map<NodeId, Message[]>();
  readonly disconnected: NodeId[] = [];
  /** Why connections were not made. */
  readonly failures: string[] = [];
  readonly distrusted: NodeId[] = [];
  readonly links: JudgedPeerLinks;

  constructor(targets: ReadonlyMap<NodeId, MeshTarget>, times: Partial<LinkTimes> = {}, from: TestIdentity = one) {
    this.links = createPeerLinks({
      mesh: from.mesh,
      self: from.node,
      addressOf: (node) => targets.get(node),
      exchange: {
        take: (node) => this.waits.get(node)?.shift(),
        waiting: () => [...this.waits].filter(([, messages]) => messages.length > 0).map(([node]) => node),
        disconnected: (node) => void this.disconnected.push(node),
      },
      logger: { ...SILENT, warn: (fields) => void this.failures.push((fields as { readonly error: string }).error) },
      distrusted: (node) => void this.distrusted.push(node),
      times: { ...QUICK, ...times },
    });
    onTestFinished(() => this.links.close());
  }

  send(node: NodeId, ...messages: Message[]): void {
    this.waits.set(node, [...(this.waits.get(node) ?? []), ...messages]);
    this.links.flush();
  }
}

function push(bytes: number): Message {
  return { type: 'push', frame: new Uint8Array(bytes) };
}

/** What a node says that has taken a connection. */
const TAKEN = new Uint8Array(LENGTH_BYTES);
const loopback = (port: number): MeshTarget => ({ host: '127.0.0.1', port });

describe('replicas over links', () => {
  test('writes at each are everywhere, also after every connection was cut and after a node was down', async () => {
    const { nodes, wires, ids } = await liveMesh(authority, 3);
    const [first, second, third] = nodes as [(typeof nodes)[0], (typeof nodes)[0], (typeof nodes)[0]];
    const all = (names: string): Promise<void> =>
      soon(() => expect(nodes.map((node) => node.names())).toEqual([names, names, names]));

    for (const [at, node] of nodes.entries()) node.write(`w${at}`);
    await all('w0 w1 w2');

    for (const wire of wires.values()) wire.cut();
    for (const [at, node] of nodes.entries()) node.write(`x${at}`);
    await all('w0 w1 w2 x0 x1 x2');

    await third.stop();
    first.write('y0');
    second.write('y1');
    await startAt(third, ids, wires);
    third.write('y2');
    await all('w0 w1 w2 x0 x1 x2 y0 y1 y2');
  });
});

describe('a link', () => {
  test('carries messages in turn, many in one write, and is dialled once', async () => {
    const wire = await Wire.open();
    const { port, received } = await openServer(two);
    wire.to = port;
    const outgoing = new Outgoing(new Map([[2n, wire.target]]));
    for (let id = 0; id < 500; id++) outgoing.send(2n, { type: 'busy', id });
    await soon(() => expect(received.length).toBe(500));
    expect(received.map(({ message }) => (message.type === 'busy' ? message.id : -1))).toEqual([...Array(500).keys()]);
    expect(wire.opened).toBe(1);
  });

  test('takes the largest frame', async () => {
    const { port, received } = await openServer(two);
    const outgoing = new Outgoing(new Map([[2n, loopback(port)]]));
    outgoing.send(2n, push(16 * 1024 * 1024), { type: 'busy', id: 1 });
    await soon(() => expect(received.length).toBe(2));
  });

  /** A node that takes connections, says this, and reads nothing. */
  async function lazyNode(says: Uint8Array): Promise<{ readonly target: MeshTarget; readonly taken: () => number }> {
    let taken = 0;
    const lazy = createMeshListener(two.mesh, [REPLICA_PROTOCOL], {
      peer(socket) {
        taken += 1;
        socket.write(says);
        onTestFinished(() => void socket.destroy());
      },
      refused: () => {},
    });
    onTestFinished(() => void lazy.close());
    lazy.listen(0, '127.0.0.1');
    await once(lazy, 'listening');
    return { target: loopback((lazy.address() as AddressInfo).port), taken: () => taken };
  }

  test('that nobody reads takes no more than its window, and others go on', async () => {
    const lazy = await lazyNode(TAKEN);
    const { port, received } = await openServer(await identity(authority, 3n));
    const targets = new Map([
      [2n, lazy.target],
      [3n, loopback(port)],
    ]);
    const outgoing = new Outgoing(targets, { closeMs: 50, pingMs: 60_000 });

    const messages = Array.from({ length: 3_000 }, () => push(1_000));
    outgoing.send(2n, ...messages);
    outgoing.send(3n, ...messages);
    await soon(() => expect(received.length).toBe(3_000));
    expect(lazy.taken()).toBe(1);
    const taken = 3_000 - (outgoing.waits.get(2n)?.length ?? 0);
    expect(taken).toBeGreaterThan(1_000);
    expect(taken).toBeLessThan(1_200);
    expect(outgoing.disconnected).toEqual([]);
  });

  test('whose questions nobody answers is given up', async () => {
    const lazy = await lazyNode(TAKEN);
    const outgoing = new Outgoing(new Map([[2n, lazy.target]]), { pingMs: 30, closeMs: 50, pauseMs: 5_000 });
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(outgoing.disconnected).toEqual([2n]));
    expect(outgoing.links.connected).toBe(0);
  });

  test.each([
    ['something else than answers', Buffer.from('HTTP/1.1 400')],
    ['answers to nothing', new Uint8Array(8)],
  ])('to a node that says %s is not kept', async (_, says) => {
    const lazy = await lazyNode(says);
    const outgoing = new Outgoing(new Map([[2n, lazy.target]]), { closeMs: 50, pauseMs: 5_000 });
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(lazy.taken()).toBe(1));
    await soon(() => expect(outgoing.failures).toEqual([expect.stringMatching(/no answer|not asked/)]));
    expect([outgoing.links.connected, outgoing.waits.get(2n)?.length]).toEqual([0, 1]);
  });

  test('that carries nothing any more is noticed, and replaced', async () => {
    const wire = await Wire.open();
    const { port, received } = await openServer(two);
    wire.to = port;
    const outgoing = new Outgoing(new Map([[2n, wire.target]]), { pingMs: 50 });
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(received.length).toBe(1));
    wire.freeze();
    await soon(() => expect(outgoing.disconnected).toEqual([2n]));
    wire.thaw();
    outgoing.send(2n, { type: 'busy', id: 2 });
    await soon(() => expect(received.length).toBe(2));
  });

  test('to a node that does not answer is tried at growing intervals, and what waits goes out when it does', async () => {
    const wire = await Wire.open();
    wire.to = 1;
    const outgoing = new Outgoing(new Map([[2n, wire.target]]), { pauseMs: 20, pauseMaxMs: 80 });
    outgoing.send(2n, { type: 'busy', id: 1 });
    const until = performance.now() + 400;
    while (performance.now() < until) {
      outgoing.links.flush();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // 20, 40, 80, 80 … ms, half of each by chance, and the time of a refusal.
    expect(wire.opened).toBeGreaterThan(2);
    expect(wire.opened).toBeLessThan(12);
    const { port, received } = await openServer(two);
    wire.to = port;
    await soon(() => expect(received.length).toBe(1));
    expect(outgoing.disconnected).toEqual([]);
  });

  test('to another node than the one that is called is not made', async () => {
    const { port, received } = await openServer(await identity(authority, 3n));
    const outgoing = new Outgoing(new Map([[2n, loopback(port)]]));
    outgoing.send(2n, { type: 'busy', id: 1 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(received).toEqual([]);
    expect(outgoing.links.connected).toBe(0);
    expect(outgoing.waits.get(2n)).toHaveLength(1);
  });

  test('to a node that does not take the certificate is not made, and there may be another root', async () => {
    const host = await identity(authority, 6n);
    host.revoke(new Map([[one.serial, { serial: one.serial, revokedAtMs: 0, reason: 0 }]]));
    const { port } = await openServer(host);
    const outgoing = new Outgoing(new Map([[6n, loopback(port)]]), { pauseMs: 5_000 });
    outgoing.send(6n, { type: 'busy', id: 1 });
    await soon(() => expect(outgoing.failures).toEqual([expect.stringContaining('before it said anything')]));
    expect([outgoing.distrusted, outgoing.disconnected]).toEqual([[6n], []]);
  });

  test('is closed when its node is no longer kept, and not said to be lost', async () => {
    const { port, received, server } = await openServer(two);
    const outgoing = new Outgoing(new Map([[2n, loopback(port)]]));
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(received.length).toBe(1));
    outgoing.links.keep(new Set([2n]));
    expect(outgoing.links.connected).toBe(1);
    outgoing.links.keep(new Set());
    expect(outgoing.links.connected).toBe(0);
    await soon(() => expect(server.peers).toBe(0));
    expect(outgoing.disconnected).toEqual([]);
  });

  test('to a node that was revoked is closed when it is judged again', async () => {
    const from = await identity(authority, 4n);
    const { port, received } = await openServer(two);
    const outgoing = new Outgoing(new Map([[2n, loopback(port)]]), { pauseMs: 5_000 }, from);
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(received.length).toBe(1));
    for (let turn = 0; turn < 3; turn++) outgoing.links.judgeAgain();
    await new Promise((resolve) => setImmediate(resolve));
    expect([outgoing.links.connected, outgoing.disconnected]).toEqual([1, []]);
    from.revoke(new Map([[two.serial, { serial: two.serial, revokedAtMs: 0, reason: 0 }]]));
    outgoing.links.judgeAgain();
    await soon(() => expect(outgoing.disconnected).toEqual([2n]));
    expect(outgoing.links.connected).toBe(0);
  });

  test('sends what waits before it is closed, more than its window too', async () => {
    const { port, received } = await openServer(two);
    const outgoing = new Outgoing(new Map([[2n, loopback(port)]]));
    outgoing.send(2n, { type: 'busy', id: 1 });
    await soon(() => expect(received.length).toBe(1));
    outgoing.waits.set(
      2n,
      Array.from({ length: 3_000 }, () => push(1_000)),
    );
    await outgoing.links.close();
    await soon(() => expect(received.length).toBe(3_001));
    expect(outgoing.disconnected).toEqual([]);
  });
});
