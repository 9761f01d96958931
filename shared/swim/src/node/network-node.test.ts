// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { local, type Tuning } from '../core/tuning.js';
import { encodeDatagram } from '../wire/datagram.js';
import { Keyring } from '../wire/keyring.js';
import type { Address } from '../wire/message.js';
import { NetworkNode, type NodeEvent } from './network-node.js';
import type { NodeOptions } from './options.js';
import { SwimThread } from './swim-thread.js';

// A machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

const quick: Tuning = {
  ...local,
  probeIntervalMs: 200,
  probeTimeoutMs: 60,
  gossipIntervalMs: 20,
  suspicionMultiplier: 2,
};
const key = new Uint8Array(32).fill(7);
const loopback: Address = { host: '127.0.0.1', port: 0 };
const closing: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

interface Running {
  readonly node: NetworkNode;
  readonly events: NodeEvent[];
}

async function start(name: string, options: Partial<NodeOptions> = {}): Promise<Running> {
  const events: NodeEvent[] = [];
  const node = await NetworkNode.start({ name, bind: loopback, tuning: quick, keys: [key], ...options }, (event) =>
    events.push(event),
  );
  closing.push(() => node.close());
  return { node, events };
}

/** seen: what there is instead, for who has to find out why. */
async function until(condition: () => boolean, seen: () => unknown = () => '', withinMs = 20_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`it did not come about in time ${JSON.stringify(seen())}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const join = ({ node }: Running, to: Running): void =>
  node.carryOut((swim, now) => swim.join(1, [to.node.address], now));
const knows = ({ node }: Running, name: string): string | undefined => node.swim.member(name)?.state;

describe('nodes on the network', () => {
  it.each([
    ['IPv4, sealed', {}],
    ['IPv6, in plain, labelled', { bind: { host: '::1', port: 0 }, keys: [], label: 'mesh' }],
  ])('join, gossip, find out who was killed, and who leaves: %s', async (_, options) => {
    const [a, b, c] = await Promise.all(
      ['a', 'b', 'c'].map((name) => start(name, { ...options, meta: Buffer.from(name) })),
    );
    if (!a || !b || !c) throw new Error('not started');
    join(b, a);
    join(c, a);
    await until(() => [a, b, c].every(({ node }) => node.swim.members().length === 3));
    expect(Buffer.from(b.node.swim.member('c')?.meta ?? []).toString()).toBe('c');
    await until(() => b.events.some(({ type }) => type === 'round-trip'));
    await b.node.close();
    await until(() => knows(a, 'b') === 'dead' && knows(c, 'b') === 'dead');
    c.node.carryOut((swim, now) => swim.leave(2000, now));
    await until(
      () => knows(a, 'c') === 'left' && c.events.some((event) => event.type === 'departed' && event.announced),
      () => ({ a: a.node.swim.members(), departed: c.events.filter(({ type }) => type === 'departed') }),
    );
    expect(a.node.stats().rejected).toEqual({});
  });

  it('carry messages of the user’s by gossip and by stream, and the user’s state in an exchange', async () => {
    const a = await start('a', { userState: Uint8Array.of(4, 2) });
    const b = await start('b');
    join(b, a);
    await until(() => knows(a, 'b') === 'alive' && knows(b, 'a') === 'alive');
    const large = new Uint8Array(300_000).fill(5);
    b.node.carryOut((swim, now) => swim.broadcast(Uint8Array.of(1), undefined, now));
    b.node.carryOut((swim, now) => swim.sendReliable(9, 'a', large, now));
    const got = (): Uint8Array[] => a.events.flatMap((event) => (event.type === 'user' ? [event.body] : []));
    await until(() => got().length >= 2);
    expect(new Set(got().map(({ length }) => length))).toEqual(new Set([1, 300_000]));
    expect(b.events).toContainEqual({ type: 'delivered', id: 9, error: undefined });
    expect(b.events.find(({ type }) => type === 'remote-state')).toMatchObject({ state: Uint8Array.of(4, 2) });
  });

  it('keep out whom the key, the label or the network does not fit, and say why', async () => {
    const a = await start('a');
    const other = await start('other', { keys: [new Uint8Array(32).fill(8)] });
    const plain = await start('plain', { keys: [] });
    const labelled = await start('labelled', { label: 'elsewhere' });
    const elsewhere = await start('elsewhere', { allow: ['192.0.2.0/24'] });
    for (const stranger of [other, plain, labelled]) join(stranger, a);
    join(a, elsewhere);
    await until(() => [other, plain, labelled, a].every(({ events }) => events.some(({ type }) => type === 'joined')));
    for (const { node } of [a, other, plain, labelled, elsewhere]) expect(node.swim.members().length).toBe(1);
    expect(Object.keys(a.node.stats().rejected).sort()).toEqual(['no-key-opens', 'not-sealed', 'wrong-label']);
    // More than once, for a node that is alone tries again.
    expect(Object.keys(elsewhere.node.stats().rejected)).toEqual(['not-allowed']);
  });

  it('live through noise on both ports, tell it once for each reason, and go on', async () => {
    const a = await start('a');
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    for (let length = 0; length < 300; length++)
      socket.send(Buffer.alloc(length, length), a.node.address.port, '127.0.0.1');
    const stream = connect(a.node.address.port, '127.0.0.1');
    stream.on('error', () => {});
    stream.resume();
    stream.write(Buffer.alloc(70_000, 6));
    await new Promise((resolve) => stream.once('close', resolve));
    await until(() => Object.values(a.node.stats().rejected).reduce((sum, count) => sum + count, 0) > 250);
    const told = a.events.flatMap((event) => (event.type === 'rejected' ? [event.reason] : []));
    expect(told.length).toBe(new Set(told).size);
    const b = await start('b');
    join(b, a);
    await until(() => knows(a, 'b') === 'alive');
  });

  it('bound the streams that others hold open, in number and time', async () => {
    const tuning = { ...quick, streamTimeoutMs: 2000 };
    const a = await start('a', { tuning, streamLimits: { connectionsPerHost: 4 } });
    const idle: Socket[] = Array.from({ length: 20 }, () => connect(a.node.address.port, '127.0.0.1'));
    closing.push(() => Promise.all(idle.map((socket) => socket.destroy())));
    const closed = idle.map((socket) => {
      socket.on('error', () => {});
      socket.resume();
      return new Promise((resolve) => socket.once('close', resolve));
    });
    await until(() => a.node.stats().rejected['too-many'] === 16);
    expect(a.node.stats().incoming).toBe(4);
    // The first of them make room for one that has something to say.
    const b = await start('b', { tuning });
    join(b, a);
    await until(() => knows(b, 'a') === 'alive');
    expect(idle.some(({ destroyed }) => !destroyed)).toBe(true);
    for (const socket of idle) socket.write(Buffer.of(244, 200));
    await Promise.all(closed);
    await until(() => a.node.stats().incoming === 0);
  });

  it('let go the stream that holds most where all hold too much, and take what is small', async () => {
    const a = await start('a', { streamLimits: { bufferedBytes: 200_000 } });
    // Sealed, of 1 MiB, of which most never comes.
    const slow = [90_000, 60_000].map((bytes) => {
      const socket = connect(a.node.address.port, '127.0.0.1').on('error', () => {});
      closing.push(() => socket.destroy());
      const begin = Buffer.alloc(bytes);
      begin.writeUInt8(10);
      begin.writeUInt32BE(1024 * 1024, 1);
      socket.resume().write(begin);
      return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve(bytes))) };
    });
    await until(() => a.node.stats().incoming === 2);
    // Room for less than a third of it.
    slow[1]?.socket.write(Buffer.alloc(60_000));
    expect(await Promise.race(slow.map(({ closed }) => closed))).toBe(60_000);
    const b = await start('b');
    join(b, a);
    await until(() => knows(b, 'a') === 'alive');
    expect(a.node.stats().rejected['too-large']).toBe(1);
  });

  it('advertise an address as it stands on the wire, however it was spelled', async () => {
    const { node } = await start('a', {
      bind: { host: '::1', port: 0 },
      advertise: { host: '2001:DB8:0::1', port: 0 },
    });
    expect(node.address).toEqual({ host: '2001:db8::1', port: node.address.port });
    expect(node.address.port).toBeGreaterThan(0);
  });

  it('refuse options with which nobody could reach them', async () => {
    const start = (options: Partial<NodeOptions>): Promise<NetworkNode> =>
      NetworkNode.start({ name: 'a', bind: loopback, tuning: quick, ...options }, () => {});
    await expect(start({ bind: { host: '0.0.0.0', port: 0 } })).rejects.toThrow(
      /listens at every address: say in 'advertise'/,
    );
    await expect(start({ allow: ['everything'] })).rejects.toThrow(/expected a network as 192.0.2.0\/24/);
    await expect(start({ keys: [new Uint8Array(5)] })).rejects.toThrow(/a gossip key has 5 bytes/);
    await expect(start({ advertise: { host: 'name.example', port: 1 } })).rejects.toThrow(/expected an IP address/);
  });
});

/** Pings until there is an answer, in a thread of its own. */
const ASKER = `
  const { workerData: { ping, answered, port } } = require('node:worker_threads');
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', () => {
    Atomics.store(answered, 0, 1);
    Atomics.notify(answered, 0);
  });
  setInterval(() => socket.send(ping, port, '127.0.0.1'), 50);
`;

describe('a node in a thread of its own', () => {
  // Threads run what was built.
  const code = new URL('../../dist/node/worker.js', import.meta.url);
  const options: NodeOptions = { name: 'threaded', bind: loopback, tuning: quick, keys: [key] };

  it('answers pings while the main thread stands still', async () => {
    const a = await SwimThread.start(options, { event: () => {} }, code);
    closing.push(() => a.close());
    const ping = encodeDatagram([{ type: 'ping', seq: 77, node: 'threaded' }], {
      keyring: new Keyring(key),
      random: randomBytes,
    });
    const answered = new Int32Array(new SharedArrayBuffer(4));
    const asker = new Worker(ASKER, { eval: true, workerData: { ping, answered, port: a.address.port } });
    closing.push(() => asker.terminate());
    // Nothing of this thread runs until the answer is there.
    expect(Atomics.wait(answered, 0, 0, 20_000)).toBe('ok');
  });

  it('joins, tells what it knows, and leaves', async () => {
    const a = await SwimThread.start(options, { event: () => {} }, code);
    closing.push(() => a.close());
    const b = await SwimThread.start({ ...options, name: 'b' }, { event: () => {} }, code);
    closing.push(() => b.close());
    expect(await b.join([a.address])).toMatchObject({ reached: 1, failures: [] });
    await until(() => [a, b].every((node) => node.members().length === 1 && node.members()[0]?.state === 'alive'));
    expect(await a.stats()).toMatchObject({ members: 2, rejected: {} });
    await b.updateMeta(Uint8Array.of(3));
    await until(() => a.members()[0]?.meta[0] === 3);
    expect(await b.leave(2000)).toBe(true);
    await until(() => a.members()[0]?.state === 'left');
  });

  it('changes its keys, and hands on the errors of what was asked', async () => {
    const a = await SwimThread.start(options, { event: () => {} }, code);
    closing.push(() => a.close());
    const second = new Uint8Array(16).fill(1);
    await a.changeKey('install', second);
    await a.changeKey('use', second);
    await a.changeKey('remove', key);
    expect((await a.keys()).map(({ length }) => length)).toEqual([16]);
    await expect(a.changeKey('remove', second)).rejects.toMatchObject({ name: 'KeyringError' });
    await expect(a.updateMeta(new Uint8Array(513))).rejects.toMatchObject({ name: 'SwimOptionsError' });
    await expect(a.sendReliable('nobody', Uint8Array.of(1))).rejects.toThrow('nobody is not a member');
  });

  it('that cannot start says why, and one that is closed takes nothing more', async () => {
    const bad = { ...options, bind: { host: '203.0.113.1', port: 0 } };
    await expect(SwimThread.start(bad, { event: () => {} }, code)).rejects.toThrow(/EADDRNOTAVAIL/);
    const a = await SwimThread.start(options, { event: () => {} }, code);
    await a.close();
    await expect(a.stats()).rejects.toThrow('closed');
  });
});
