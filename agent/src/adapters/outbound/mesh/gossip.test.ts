// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BroadcastChannel } from 'node:worker_threads';
import { local, SwimThread, type Tuning } from '@marcher/swim';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  firstKeyring,
  type GossipKeyring,
  installKey,
  type KeyringVerdict,
  removeKey,
  useKey,
} from '../../../domain/identity/gossip-keyring.js';
import { gossipKey } from '../identity/new-ids.js';
import { testDirectory } from '../identity/testing/directory.js';
import type { GossipEvent } from './event-lines.js';
import { type GossipOptions, MeshGossip } from './gossip.js';

// A machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

const quick: Tuning = {
  ...local,
  probeIntervalMs: 200,
  probeTimeoutMs: 60,
  gossipIntervalMs: 20,
  suspicionMultiplier: 2,
  // Who is not reached by a join is not tried again, and where all CPUs are taken an answer may take more than a second.
  streamTimeoutMs: 20_000,
};
const meshId = '1'.repeat(32);
const first = gossipKey(new Uint8Array(32).fill(1));
const second = gossipKey(new Uint8Array(32).fill(2));
const [A, B, C] = ['00000000000000a1', '00000000000000b2', '00000000000000c3'] as const;

interface Opened {
  readonly gossip: MeshGossip;
  readonly options: GossipOptions;
  readonly events: GossipEvent[];
  readonly deaths: { readonly error: Error; readonly againInMs: number }[];
  changes: number;
}

async function open(nodeId: string, more: Partial<GossipOptions> = {}): Promise<Opened> {
  const stateDirectory = more.stateDirectory ?? testDirectory();
  const keyring = firstKeyring(first);
  const options = { meshId, nodeId, bind: '127.0.0.1:0', keyring, tuning: quick, ...more, stateDirectory };
  const events: GossipEvent[] = [];
  const deaths: Opened['deaths'] = [];
  const opened: { changes: number } = { changes: 0 };
  const gossip = await MeshGossip.open(options, {
    onMembers: () => void opened.changes++,
    onEvent: (event) => events.push(event),
    onDied: (error, againInMs) => deaths.push({ error, againInMs }),
  });
  onTestFinished(() => gossip.close());
  return Object.assign(opened, { gossip, options, events, deaths });
}

async function until(condition: () => boolean, withinMs = 30_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const stateOf = ({ gossip }: Opened, nodeId: string): string | undefined =>
  gossip.members().find((member) => member.nodeId === nodeId)?.state;
const allAlive = (nodes: readonly Opened[]): boolean =>
  nodes.every(({ gossip }) => {
    const members = gossip.members();
    return members.length === nodes.length - 1 && members.every(({ state }) => state === 'alive');
  });
const said = ({ events }: Opened, kind: GossipEvent['kind'], about: string): boolean =>
  events.some((event) => event.kind === kind && event.about.includes(about));

describe('gossip of agents', () => {
  it('find each other by one address, and tell who has died and who has left', async () => {
    const [a, b, c] = await Promise.all([open(A), open(B), open(C)]);
    expect(await b.gossip.join([a.gossip.address, 'nonsense'])).toBe(1);
    expect(await c.gossip.join([a.gossip.address])).toBe(1);
    await until(() => allAlive([a, b, c]));
    expect(said(b, 'refused', 'nonsense')).toBe(true);
    await until(() => said(a, 'joined', B) && said(a, 'joined', C) && a.changes > 0);
    const before = a.changes;
    await b.gossip.close();
    await until(() => stateOf(a, B) === 'dead' && stateOf(c, B) === 'dead');
    // On a busy machine they may have given each other up meanwhile: who leaves tells those that are not gone for it.
    await until(() => stateOf(c, A) === 'alive' && stateOf(a, C) === 'alive');
    await c.gossip.leave(10_000);
    await until(() => stateOf(a, C) === 'left');
    await until(() => said(a, 'dead', B) && said(a, 'left', C) && a.changes > before);
    await a.gossip.close();
    const file = readFileSync(join(a.options.stateDirectory, 'gossip-members'), 'utf8');
    expect(file.match(/"name":"[^"]+","host":"127.0.0.1","port":\d+,"goneMs":\d+/g)?.length).toBe(2);
  });

  it('hold over IPv6', async () => {
    const [a, b] = await Promise.all([open(A, { bind: '[::1]:0' }), open(B, { bind: '[::1]:0' })]);
    expect(a.gossip.address).toMatch(/^\[::1\]:\d+$/);
    expect(await b.gossip.join([a.gossip.address])).toBe(1);
    await until(() => allAlive([a, b]));
  });

  it('refuse another key, another mesh and what is not sealed, and say how much of it', async () => {
    const a = await open(A);
    const otherKey = await open(B, { keyring: firstKeyring(second) });
    const otherMesh = await open(C, { meshId: '2'.repeat(32) });
    expect(await Promise.all([otherKey, otherMesh].map(({ gossip }) => gossip.join([a.gossip.address])))).toEqual([
      0, 0,
    ]);
    const refusals = (): string[] => a.events.filter(({ kind }) => kind === 'refused').map(({ detail }) => detail);
    await until(() =>
      ['no-key-opens: ', 'wrong-label: '].every((reason) => refusals().some((text) => text.startsWith(reason))),
    );
    expect(a.events.every(({ count }) => count >= 1)).toBe(true);
    expect((await a.gossip.stats())?.rejected).toMatchObject({
      'no-key-opens': expect.any(Number),
      'wrong-label': expect.any(Number),
    });
    for (const { gossip } of [a, otherKey, otherMesh]) expect(gossip.members()).toEqual([]);
    // One that has the key and no node's id is none.
    const bind = { host: '127.0.0.1', port: 0 };
    const other = { name: 'stranger', label: meshId, keys: [first.key], bind, tuning: quick };
    const stranger = await SwimThread.start(other, { event: () => {} });
    onTestFinished(() => stranger.close());
    const [host = '', port] = a.gossip.address.split(':');
    expect(await stranger.join([{ host, port: Number(port) }])).toMatchObject({ reached: 1 });
    await until(() => said(a, 'joined', 'stranger'));
    expect(a.gossip.members()).toEqual([]);
  });

  it('change keys one step after another, everywhere, and never lose each other', async () => {
    const [a, b] = await Promise.all([open(A), open(B)]);
    await b.gossip.join([a.gossip.address]);
    await until(() => allAlive([a, b]));
    const installed = ring(installKey(firstKeyring(first), second));
    const used = ring(useKey(installed, second.id));
    const removed = ring(removeKey(used, first.id));
    for (const keyring of [installed, used, removed]) for (const { gossip } of [a, b]) await gossip.setKeyring(keyring);
    const old = await open(C);
    expect(await old.gossip.join([a.gossip.address])).toBe(0);
    await old.gossip.setKeyring(installed);
    expect(await old.gossip.join([a.gossip.address])).toBe(0);
    await old.gossip.setKeyring(removed);
    expect(await old.gossip.join([a.gossip.address])).toBe(1);
    await until(() => allAlive([a, b, old]));
    expect(Object.keys((await b.gossip.stats())?.rejected ?? {})).toEqual([]);
    const broken = { primary: 'x', keys: [first] };
    await expect(a.gossip.setKeyring(broken)).rejects.toThrow('its primary key is not among its keys');
  });

  it('come back when their thread is killed, at the same address, and know whom they knew meanwhile', async () => {
    const program = killable();
    const a = await open(A, { program, pauses: { firstMs: 200, mostMs: 60_000 } });
    const [b, c] = await Promise.all([open(B), open(C)]);
    await b.gossip.join([a.gossip.address]);
    await until(() => allAlive([a, b]));
    const address = a.gossip.address;
    for (const deaths of [1, 2]) {
      kill(A);
      await until(() => a.deaths.length === deaths);
      expect(a.deaths[deaths - 1]?.error.message).toBe('killed by a test');
      expect(stateOf(a, B)).toBeDefined();
      // Whom it is to join while there is no thread, the next one joins.
      if (deaths === 1) expect(await a.gossip.join([c.gossip.address])).toBe(0);
      await until(() => a.events.filter(({ kind }) => kind === 'restarted').length === deaths);
      expect(stateOf(a, B)).toBeDefined();
      await until(() => allAlive([a, b, c]));
    }
    expect(a.gossip.address).toBe(address);
    // Twice the first pause, half of it by chance.
    expect(a.deaths[1]?.againInMs).toBeGreaterThanOrEqual(200);
    expect((await a.gossip.stats())?.incarnation).toBeGreaterThanOrEqual(3);
    await a.gossip.leave(2_000);
    kill(A);
    while ((await a.gossip.stats()) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(a.deaths.length).toBe(2);
  });

  it('use the keyring that came while their thread was being started', async () => {
    const a = await open(A, { program: killable(300), pauses: { firstMs: 100, mostMs: 100 } });
    kill(A);
    await until(() => a.deaths.length === 1);
    await new Promise((resolve) => setTimeout(resolve, (a.deaths[0]?.againInMs ?? 0) + 100));
    await a.gossip.setKeyring(firstKeyring(second));
    await until(() => said(a, 'restarted', A));
    const b = await open(B, { keyring: firstKeyring(second) });
    expect(await b.gossip.join([a.gossip.address])).toBe(1);
  });

  it('find each other again by what they remember alone, though all have left before', async () => {
    const nodes = await Promise.all([A, B, C].map((nodeId) => open(nodeId)));
    const [a] = nodes;
    for (const node of nodes.slice(1)) await node.gossip.join([a?.gossip.address ?? '']);
    await until(() => allAlive(nodes));
    for (const { gossip } of nodes) {
      await gossip.leave(2_000);
      await gossip.close();
    }
    const again = await Promise.all(
      nodes.map(({ gossip, options: { nodeId, stateDirectory } }) =>
        open(nodeId, { stateDirectory, bind: gossip.address }),
      ),
    );
    await until(() => allAlive(again));
    for (const { events } of again) expect(events.some(({ kind }) => kind === 'memory')).toBe(false);
    expect((await again[0]?.gossip.stats())?.incarnation).toBeGreaterThan(1);
  });

  it('begin anew without what they remember, say so, and write it again', async () => {
    const fresh = await open(A);
    expect(fresh.events).toEqual([
      expect.objectContaining({ kind: 'memory', detail: expect.stringContaining('there is no ') }),
    ]);
    const { stateDirectory } = fresh.options;
    await fresh.gossip.close();
    const path = join(stateDirectory, 'gossip-members');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.slice(0, -3));
    const again = await open(A, { stateDirectory });
    expect(again.events).toEqual([
      expect.objectContaining({ kind: 'memory', detail: expect.stringContaining('is damaged') }),
    ]);
    await again.gossip.close();
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it('that can not start say where, and what is wrong', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as { port: number };
    await expect(open(A, { bind: `127.0.0.1:${port}` })).rejects.toThrow(
      new RegExp(`at 127.0.0.1:${port}: another process has the port, for UDP or TCP; choose another`),
    );
    await expect(open(A, { bind: '0.0.0.0:0' })).rejects.toThrow("say in 'advertise' at which others reach it");
    await expect(open(A, { bind: 'node-1:7401' })).rejects.toThrow('gossip can\'t listen at "node-1:7401"');
    await expect(open('a')).rejects.toThrow('a node id is 16 hex digits');
    await expect(open(A, { meshId: 'mesh' })).rejects.toThrow('a mesh id is 32 hex digits');
  });
});

function ring(verdict: KeyringVerdict): GossipKeyring {
  if (verdict.kind === 'refused') throw new Error(verdict.reason);
  return verdict.keyring;
}

const CHANNEL = 'marcher gossip test';

/** The real program of the thread, and a way to make it throw. startMs: how long it takes to start. */
function killable(startMs = 0): URL {
  const main = createRequire(import.meta.url).resolve('@marcher/swim');
  const worker = new URL('./node/worker.js', pathToFileURL(main));
  const program = join(testDirectory(), 'killable.mjs');
  writeFileSync(
    program,
    `import { BroadcastChannel, workerData } from 'node:worker_threads';
     const channel = new BroadcastChannel(${JSON.stringify(CHANNEL)});
     channel.onmessage = ({ data }) => {
       if (data === workerData.name) throw new Error('killed by a test');
     };
     channel.unref();
     await new Promise((resolve) => setTimeout(resolve, ${startMs}));
     await import(${JSON.stringify(worker.href)});`,
  );
  return pathToFileURL(program);
}

function kill(nodeId: string): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage(nodeId);
  channel.close();
}
