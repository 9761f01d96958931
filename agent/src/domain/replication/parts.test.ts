// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Backoff } from './backoff.js';
import { clockOffset, judgeClock } from './clock-judge.js';
import type { Frame, Message } from './contract.js';
import { xor48 } from './digest.js';
import { Holding } from './holding.js';
import { covers, lacking, nextIncarnation, originKey, union } from './origin.js';
import { Outbox } from './outbox.js';
import { neighbours } from './overlay.js';
import { Tree } from './tree.js';

const none = new Uint8Array(0);

test('overlay: links are mutual, logarithmic, and reach everyone, also without any two neighbours in the ring', () => {
  for (const count of [1, 2, 3, 10, 100, 257]) {
    const all = Array.from({ length: count }, (_, i) => BigInt(i * 7919 + 3));
    const links = new Map(all.map((node) => [node, neighbours(node, all)]));
    for (const [node, peers] of links) {
      expect(peers.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(count + 1)));
      expect(peers).not.toContain(node);
      for (const peer of peers) expect(links.get(peer)).toContain(node);
    }
    const lost = new Set(count > 9 ? [all[4], all[5]] : []);
    const reached = new Set([all[0]]);
    for (const node of reached) {
      for (const peer of links.get(node as bigint) ?? []) if (!lost.has(peer)) reached.add(peer);
    }
    expect(reached.size).toBe(count - lost.size);
  }
});

test('clock: of two nobody knows, of more the one alone is wrong', () => {
  expect(judgeClock([], 500)).toEqual({ medianMs: 0, off: false });
  expect(judgeClock([9000], 500).off).toBe(false);
  expect(judgeClock([9000, 9100], 500)).toEqual({ medianMs: 9000, off: true });
  expect(judgeClock([-9000, -9100, 3], 500)).toEqual({ medianMs: 0, off: false });
  expect(judgeClock([-9000, -9100, -9200, 3], 500).off).toBe(true);
  expect(judgeClock([500, 500], 500).off).toBe(false);
  expect(clockOffset(1000, 1100, 3050)).toBe(2000);
});

test('exclusive or of 48 bits', () => {
  const [a, b] = [0xffff_8000_0001, 0x0f0f_ffff_ffff];
  expect(xor48(a, b)).toBe(Number(BigInt(a) ^ BigInt(b)));
  expect(xor48(xor48(a, b), b)).toBe(a);
});

test('backoff doubles up to its bound, half of it by chance, and ends with a success', () => {
  const backoff = new Backoff(100, 1000, () => 1);
  backoff.failed(1n, 0);
  expect([backoff.isOver(1n, 99), backoff.isOver(1n, 100), backoff.isOver(2n, 0)]).toEqual([false, true, true]);
  for (let i = 0; i < 50; i++) backoff.failed(1n, 0);
  expect([backoff.isOver(1n, 999), backoff.isOver(1n, 1000)]).toEqual([false, true]);
  backoff.succeeded(1n);
  expect(backoff.isOver(1n, 0)).toBe(true);
  const least = new Backoff(100, 1000, () => 0);
  least.failed(1n, 0);
  expect(least.isOver(1n, 50)).toBe(true);
});

const origin = originKey({ node: 1n, incarnation: 10 });
const later = originKey({ node: 1n, incarnation: 20 });

function vector(heads: Record<string, number>, floors: [bigint, number][] = []): Parameters<typeof covers>[0] {
  const entries = Object.entries(heads).map(([key, sequence]) => [key, { sequence, hash: none }] as const);
  return { heads: new Map(entries), floors: new Map(floors) };
}

test('vectors: what is lacking, up to a fork and not below a floor', () => {
  expect(lacking(vector({ [origin]: 3 }), vector({ [origin]: 9 }), [])).toEqual([{ origin, from: 4, through: 9 }]);
  expect(lacking(vector({ [origin]: 3 }), vector({ [origin]: 9 }), [{ origin, sequence: 6 }])).toEqual([
    { origin, from: 4, through: 5 },
  ]);
  expect(lacking(vector({ [origin]: 5 }), vector({ [origin]: 9 }), [{ origin, sequence: 6 }])).toEqual([]);
  const floored = vector({ [later]: 1 }, [[1n, 11]]);
  expect(covers(floored, origin, 100)).toBe(true);
  expect(lacking(floored, vector({ [origin]: 9 }), [])).toEqual([]);
  expect([...union(vector({ [origin]: 9 }), floored).heads.keys()]).toEqual([later]);
});

test('the next incarnation is greater than every known one, and than the time', () => {
  expect(nextIncarnation(1n, [origin, later, originKey({ node: 2n, incarnation: 99 })], 0, 5)).toBe(21);
  expect(nextIncarnation(1n, [origin], 0, 1000)).toBe(1000);
  expect(nextIncarnation(1n, [], 30, Number.NaN)).toBe(30);
});

function frame(sequence: number, bytes = 10): Frame {
  const stamp = { ms: 1, counter: 0, node: 1n };
  const rest = {
    node: 1n,
    stamp,
    cluster: '',
    previous: none,
    author: '',
    message: '',
    writes: [],
    hash: none,
    signature: none,
  };
  return { ...rest, origin, sequence, bytes: new Uint8Array(bytes) };
}

test('holding is bounded, but always takes what can be applied at once', () => {
  const holding = new Holding({ frames: 2, bytes: 100 });
  expect([holding.add(frame(3), false), holding.add(frame(5), false), holding.add(frame(6), false)]).toEqual([
    true,
    true,
    false,
  ]);
  expect(holding.add(frame(2, 1000), true)).toBe(true);
  expect([holding.frames, holding.bytes]).toEqual([3, 1020]);
  expect(holding.without({ origin, from: 2, through: 5 })).toEqual({ origin, from: 4, through: 4 });
  expect(holding.without({ origin, from: 2, through: 3 })).toBeUndefined();
  holding.removeThrough(origin, 3);
  expect([holding.frames, holding.bytes]).toEqual([1, 10]);
  holding.removeOrigin(origin);
  expect([holding.frames, holding.bytes, holding.origins()]).toEqual([0, 0, []]);
});

test('a peer that does not keep up loses its pushes, not its answers, and is then to be compared with', () => {
  const outbox = new Outbox(100);
  const push: Message = { type: 'push', frame: new Uint8Array(40) };
  const answer: Message = { type: 'busy', id: 1 };
  expect([outbox.add(push), outbox.add(push), outbox.recovered()]).toEqual([0, 0, false]);
  expect(outbox.add(answer)).toBe(80);
  expect(outbox.bytes).toBe(64);
  expect(outbox.add(push)).toBe(40);
  expect([outbox.take(), outbox.take()]).toEqual([answer, undefined]);
  expect([outbox.recovered(), outbox.recovered()]).toEqual([true, false]);
  expect(outbox.add(push)).toBe(0);
});

const always = (): boolean => true;

test('tree: an announcement that no push follows grafts its announcers in turn, and then gives up', () => {
  const tree = new Tree({ graftAfterMs: 100, graftAgainMs: 300 });
  tree.setLinks([2n, 3n], always);
  expect([...tree.eager(origin)]).toEqual([2n, 3n]);
  tree.setEager(3n, origin, false);
  tree.miss(origin, 5, 2n, 0);
  tree.miss(origin, 7, 3n, 10);
  expect([tree.nextDueMs(), tree.due(99)]).toEqual([100, []]);
  expect(tree.due(100)).toEqual([{ node: 2n, origin, through: 7 }]);
  expect(tree.due(400)).toEqual([{ node: 3n, origin, through: 7 }]);
  expect([tree.due(700), tree.nextDueMs()]).toEqual([[], undefined]);
  tree.miss(origin, 8, 2n, 800);
  tree.announce(origin, 8, true);
  expect(tree.nextDueMs()).toBeUndefined();
  tree.setLinks([3n, 4n], always);
  expect([[...tree.eager(origin)], [...tree.eager('other')], [...tree.links()]]).toEqual([[4n], [3n, 4n], [3n, 4n]]);
  tree.setLinks([3n, 4n], (known) => known !== origin);
  expect([...tree.eager(origin)]).toEqual([3n, 4n]);
});

test('tree: of an origin the first to push is the parent, and stays it until it is gone or a link is grafted', () => {
  const tree = new Tree({ graftAfterMs: 100, graftAgainMs: 300 });
  tree.setLinks([2n, 3n, 4n], always);
  expect(tree.pushed(2n, origin, false)).toBe(false);
  expect([tree.pushed(2n, origin, true), tree.pushed(3n, origin, true)]).toEqual([false, true]);
  // Sent before it was told to send no more: whoever has told it needs the parent more than before.
  expect([tree.pushed(3n, origin, false), tree.pushed(2n, origin, true)]).toEqual([false, false]);
  expect([tree.pushed(3n, 'other', false), tree.pushed(2n, 'other', true)]).toEqual([false, true]);
  tree.setParent(4n, origin);
  expect([tree.pushed(4n, origin, true), tree.pushed(2n, origin, true)]).toEqual([false, true]);
  tree.setLinks([2n, 3n], always);
  expect([tree.pushed(5n, origin, false), tree.pushed(3n, origin, true)]).toEqual([false, false]);
  expect([tree.pushed(2n, origin, true), tree.pushed(5n, origin, true)]).toEqual([true, true]);
});

test('tree: whoever has said, or shown, that it has a frame is not told of it', () => {
  const tree = new Tree({ graftAfterMs: 100, graftAgainMs: 300 });
  tree.setLinks([2n, 3n, 4n, 5n], always);
  for (const node of [3n, 4n, 5n]) tree.setEager(node, origin, false);
  tree.miss(origin, 7, 3n, 0);
  tree.miss(origin, 8, 4n, 0);
  tree.announce(origin, 7, true);
  expect(tree.news()).toEqual([
    { node: 3n, heads: [{ origin, sequence: 7 }] },
    { node: 5n, heads: [{ origin, sequence: 7 }] },
  ]);
  tree.announce(origin, 8, true);
  tree.has(5n, origin, 7);
  tree.has(3n, origin, 9);
  expect(tree.news()).toEqual([{ node: 5n, heads: [{ origin, sequence: 8 }] }]);
  tree.announce(origin, 9, true);
  tree.has(3n, origin, 9);
  tree.announce(origin, 10, true);
  tree.has(4n, origin, 10);
  tree.has(5n, origin, 10);
  expect(tree.news()).toEqual([{ node: 3n, heads: [{ origin, sequence: 10 }] }]);
  tree.announce(origin, 11, false);
  tree.announce(origin, 12, true);
  tree.has(4n, origin, 12);
  expect(tree.news().map(({ node }) => node)).toEqual([2n, 3n, 5n]);
  expect(tree.news()).toEqual([]);
});
