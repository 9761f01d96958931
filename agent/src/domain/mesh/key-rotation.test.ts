// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import {
  type HeldKeys,
  isDue,
  isNewer,
  type KeyTarget,
  newTarget,
  nextStep,
  type RotationStep,
} from './key-rotation.js';
import type { NodeRecord } from './node-record.js';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 22);

const target = (keyId: string, other: Partial<KeyTarget> = {}): KeyTarget => {
  return { keyId, createdMs: NOW, createdBy: 'a', withheldFrom: [], ...other };
};
const keys = (primary: string, ...others: string[]): HeldKeys => ({ keyIds: [primary, ...others], primary });

describe('what a node does next', () => {
  const both = { b: keys('old', 'new'), c: keys('old', 'new') };
  test.each<[string, Partial<KeyTarget> | undefined, HeldKeys, Record<string, HeldKeys>, RotationStep]>([
    ['nothing while the mesh has its first key', undefined, keys('old'), {}, { kind: 'done' }],
    ['gets what it lacks', {}, keys('old'), both, { kind: 'fetch', keyId: 'new' }],
    ['gets nothing that is withheld from it', { withheldFrom: ['a'] }, keys('old'), both, { kind: 'done' }],
    ['waits for who lacks it', {}, keys('old', 'new'), { ...both, c: keys('old') }, wait('installed', 'c')],
    ['waits for who has not said', {}, keys('old', 'new'), { b: keys('old', 'new') }, wait('installed', 'c')],
    [
      'waits for no one that must not have it',
      { withheldFrom: ['c'] },
      keys('old', 'new'),
      { b: keys('old', 'new') },
      use,
    ],
    ['seals by it when all have it', {}, keys('old', 'new'), both, use],
    [
      'waits for who does not seal by it',
      {},
      keys('new', 'old'),
      { ...both, b: keys('new', 'old') },
      wait('used', 'c'),
    ],
    ['removes what was before', {}, keys('new', 'old'), { b: keys('new', 'old'), c: keys('new') }, remove('old')],
    ['is done', {}, keys('new'), { b: keys('new', 'old'), c: keys('new') }, { kind: 'done' }],
  ])('%s', (_what, of, own, held, step) => {
    const view = { self: 'a', own, there: ['c', 'b', 'a'], held: new Map(Object.entries(held)) };
    expect(nextStep({ ...view, target: of && target('new', of) })).toEqual(step);
  });

  it('does not wait for who is away', () => {
    const view = { self: 'a', target: target('new'), held: new Map(), there: [] };
    expect(nextStep({ ...view, own: keys('old', 'new') })).toEqual(use);
    expect(nextStep({ ...view, own: keys('new', 'old') })).toEqual(remove('old'));
  });
});

const use: RotationStep = { kind: 'use', keyId: 'new' };
function remove(...keyIds: string[]): RotationStep {
  return { kind: 'remove', keyIds };
}
function wait(until: 'installed' | 'used', ...nodes: string[]): RotationStep {
  return { kind: 'wait', until, nodes };
}

describe('a new target', () => {
  const record = (nodeId: string, daysGone: number, keysKept?: boolean): NodeRecord => ({
    nodeId,
    name: nodeId,
    meshAddress: '',
    gossipAddress: '',
    certificates: [],
    frameKey: new Uint8Array(),
    frameKeySignature: new Uint8Array(),
    role: 'member',
    removedMs: daysGone === 0 ? 0n : BigInt(NOW - daysGone * DAY),
    ...(keysKept === undefined ? {} : { keysKept }),
  });
  const records = [record('a', 0), record('b', 0), record('r2', 2, true), record('r1', 1), record('r0', 40)];

  it('is newer than the one before also where clocks are late, and withheld from whom was taken out', () => {
    const before = target('old', { createdMs: NOW + DAY });
    const made = newTarget('new', 'a', before, records, NOW);
    expect(made).toEqual(target('new', { createdMs: NOW + DAY + 1, withheldFrom: ['r1', 'r2'] }));
    expect([isNewer(made, before), isNewer(before, made), isNewer(made, undefined)]).toEqual([true, false, true]);
    expect(isNewer(target('k1'), target('k2'))).toBe(false);
  });

  it('is due while somebody who was taken out may know the key, at one of those that are there', () => {
    const due = (self: string, there: string[], of: KeyTarget | undefined, all = records): boolean =>
      isDue({ self, there, target: of }, all, NOW);
    expect(due('a', ['b'], undefined)).toBe(true);
    expect(due('b', ['a'], undefined)).toBe(false);
    expect(due('b', [], undefined)).toBe(true);
    expect(due('a', ['b'], target('new', { withheldFrom: ['r1'] }))).toBe(false);
    expect(due('a', ['b'], undefined, [record('r2', 2, true), record('r0', 40)])).toBe(false);
  });
});

/** Nodes that tell each other of the register and of what they have in any order, late, and more than once. */
class World {
  readonly nodes: { primary: string; keyIds: string[]; target: [number, KeyTarget] | undefined }[];
  /** What each last heard of each other. */
  readonly heard: Map<string, HeldKeys>[];
  #made = 0;

  constructor(size: number) {
    this.nodes = Array.from({ length: size }, () => ({ primary: 'k0', keyIds: ['k0'], target: undefined }));
    this.heard = this.nodes.map(() => new Map());
  }

  begin(at: number): void {
    const node = this.nodes[at] as World['nodes'][number];
    const keyId = `k${++this.#made}`;
    node.keyIds.push(keyId);
    // Later than all that this node has heard of, in any order with what others begin.
    const stamp = Math.floor(node.target?.[0] ?? 0) + 1 + at / SIZE;
    node.target = [stamp, newTarget(keyId, String(at), node.target?.[1], [], NOW)];
  }

  tellTarget(from: number, to: number): void {
    const [one, other] = [this.nodes[from]?.target, this.nodes[to]];
    if (one !== undefined && other !== undefined && (other.target?.[0] ?? -1) < one[0]) other.target = one;
  }

  tellKeys(from: number, to: number): void {
    const { primary, keyIds } = this.nodes[from] as World['nodes'][number];
    this.heard[to]?.set(String(from), { primary, keyIds: [...keyIds] });
  }

  hear(at: number): void {
    for (let from = 0; from < this.nodes.length; from++) {
      this.tellTarget(from, at);
      this.tellKeys(from, at);
    }
  }

  step(at: number): void {
    const node = this.nodes[at] as World['nodes'][number];
    const there = this.nodes.map((_, id) => String(id));
    const own = { primary: node.primary, keyIds: node.keyIds };
    const held = this.heard[at] ?? new Map();
    const next = nextStep({ self: String(at), target: node.target?.[1], own, there, held });
    if (next.kind === 'fetch' && this.nodes.some(({ keyIds }) => keyIds.includes(next.keyId)))
      node.keyIds.push(next.keyId);
    if (next.kind === 'use') node.primary = next.keyId;
    if (next.kind === 'remove') node.keyIds = node.keyIds.filter((id) => !next.keyIds.includes(id));
  }

  /** Pairs of which one can't open what the other sends. */
  deaf(): string[] {
    return this.nodes.flatMap(({ primary }, from) =>
      this.nodes.flatMap(({ keyIds }, to) =>
        keyIds.includes(primary) ? [] : [`${to} can't open ${primary} of ${from}`],
      ),
    );
  }
}

const SIZE = 4;
const at = fc.nat(SIZE - 1);
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('step' as const), at, to: at }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('keys' as const), at, to: at }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('target' as const), at, to: at }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('all' as const), at, to: at }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('begin' as const), at, to: at }) },
);

test('whatever is heard in whatever order, and however many begin at once: nobody is ever deaf, and all end with one key', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 150, size: 'max' }), (happenings) => {
      const world = new World(SIZE);
      const does = {
        step: (one: number): void => world.step(one),
        keys: (one: number, other: number): void => world.tellKeys(one, other),
        target: (one: number, other: number): void => world.tellTarget(one, other),
        all: (one: number): void => world.hear(one),
        begin: (one: number): void => world.begin(one),
      };
      for (const { kind, at: one, to } of happenings) {
        does[kind](one, to);
        expect(world.deaf()).toEqual([]);
      }
      for (let round = 0; round < 8; round++) {
        for (let one = 0; one < SIZE; one++) {
          world.hear(one);
          world.step(one);
          expect(world.deaf()).toEqual([]);
        }
      }
      const ends = new Set(world.nodes.map(({ primary, keyIds }) => `${primary} of ${keyIds.join()}`));
      const latest = Math.max(...world.nodes.map(({ target: [stamp] = [-1] }) => stamp));
      const key = world.nodes.find(({ target: of }) => of?.[0] === latest)?.target?.[1].keyId ?? 'k0';
      expect([...ends]).toEqual([`${key} of ${key}`]);
    }),
    { numRuns: 300 },
  );
});
