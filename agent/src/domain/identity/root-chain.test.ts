// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { OVERLAP } from './root-chain.js';
import type { RootRecord } from './root-statement.js';
import { heard, introduction, testFirst, testSignature, word } from './testing/roots.js';
import { FORGET_DAYS, signingRoot, type TrustedRoot, trustedRoots } from './trust.js';

const DAY = 86_400_000;
const HOUR = 3_600_000;
const a = testFirst('a', 0);
const names = (roots: readonly TrustedRoot[], nowMs: number): string[] =>
  trustedRoots(roots, nowMs).map(({ pem }) => pem);

/** a introduced b, b introduced c; each was retired by the next. */
const chain: readonly RootRecord[] = [
  { ...introduction('a', 0, []), retirement: word('retire', 'a', 'b', 12 * DAY) },
  {
    ...introduction('b', 10 * DAY, ['a']),
    signing: word('sign', 'b', 'b', 11 * DAY),
    retirement: word('retire', 'b', 'c', 22 * DAY),
  },
  { ...introduction('c', 20 * DAY, ['b']), signing: word('sign', 'c', 'c', 21 * DAY) },
];
const [ofA, ofB, ofC] = chain as [RootRecord, RootRecord, RootRecord];

describe('what is heard of roots', () => {
  it('is believed as far as signatures reach from what is trusted: a node that was away trusts the newest at once', () => {
    const roots = heard([a], chain, 30 * DAY);
    expect(names(roots, 30 * DAY)).toEqual(['c']);
    expect(signingRoot(roots, 30 * DAY)?.pem).toBe('c');
    expect(roots.map(({ retiredAtMs }) => retiredAtMs)).toEqual([12 * DAY, 22 * DAY, undefined]);
    expect(heard(roots, chain, 30 * DAY)).toBe(roots);
  });

  it('is nothing without an endorsement by the key of a trusted root: a member can introduce none', () => {
    const at = 10 * DAY;
    const statement = { kind: 'introduce', root: 'x', atMs: at } as const;
    const forged: RootRecord[] = [
      introduction('x', at, []),
      introduction('x', at, ['x']),
      introduction('x', at, ['nobody']),
      { ...introduction('x', at, []), endorsements: [testSignature('x', statement, 'a')] },
      // Endorsed for another root, for another time, and to do something else.
      { ...introduction('x', at, []), endorsements: introduction('y', at, ['a']).endorsements },
      { ...introduction('x', at, []), endorsements: introduction('x', at, ['a'], at + 1).endorsements },
      { ...introduction('x', at, []), endorsements: [testSignature('a', { ...statement, kind: 'sign' })] },
      { ...introduction('x', at, ['a']), certificate: new TextEncoder().encode('no certificate') },
    ];
    for (const record of forged) expect(heard([a], [record], at)).toEqual([a]);
    expect(names(heard([a], [introduction('x', at, ['a'])], at), at)).toEqual(['a', 'x']);
  });

  it('is not believed of a root that was retired here, whoever holds its key', () => {
    const known = heard([a], [ofA, { ...ofB, retirement: undefined }], 15 * DAY);
    expect(names(known, 15 * DAY)).toEqual(['b']);
    const stolen = { ...introduction('x', 14 * DAY, ['a']), signing: word('sign', 'x', 'x', 14 * DAY) };
    expect(heard(known, [stolen], 15 * DAY)).toBe(known);
    // Nor that it retires the one after it.
    const back = { ...ofB, retirement: word('retire', 'b', 'a', 14 * DAY) };
    expect(heard(known, [back], 15 * DAY)).toBe(known);
    // Also when the two come together, for who knows both roots.
    const both = heard([a], [{ ...ofB, retirement: undefined }], 11 * DAY);
    expect(names(heard(both, [back], 15 * DAY), 15 * DAY)).toEqual(['a', 'b']);
  });

  it('never leaves a node without a root: only a newer one that signs retires another', () => {
    const pending = { ...introduction('b', 10 * DAY, ['a']) };
    const early = { ...ofA, retirement: word('retire', 'a', 'b', 12 * DAY) };
    expect(names(heard([a], [early, pending], 13 * DAY), 13 * DAY)).toEqual(['a', 'b']);
    const self = { ...ofA, retirement: word('retire', 'a', 'a', 12 * DAY) };
    expect(names(heard([a], [self], 13 * DAY), 13 * DAY)).toEqual(['a']);
    const mutual = [
      { ...ofA, retirement: word('retire', 'a', 'b', 12 * DAY) },
      { ...ofB, retirement: word('retire', 'b', 'a', 12 * DAY) },
    ];
    expect(names(heard([a], mutual, 13 * DAY), 13 * DAY)).toEqual(['b']);
  });

  it('has a root sign by the word of its own key alone, and by the earlier of two', () => {
    const at = (roots: readonly TrustedRoot[]): number | undefined => roots[1]?.signsFromMs;
    const other = { ...ofB, retirement: undefined, signing: word('sign', 'b', 'a', 11 * DAY) };
    expect(at(heard([a], [other], 30 * DAY))).toBeUndefined();
    const early = { ...other, signing: word('sign', 'b', 'b', 11 * DAY) };
    const late = { ...other, signing: word('sign', 'b', 'b', 12 * DAY) };
    expect(at(heard(heard([a], [late], 30 * DAY), [early], 30 * DAY))).toBe(11 * DAY);
    expect(at(heard(heard([a], [early], 30 * DAY), [late], 30 * DAY))).toBe(11 * DAY);
  });

  it('ends a root by the word of one that was retired since, which comes late', () => {
    const before = heard([a], [{ ...ofB, retirement: undefined }], 30 * DAY);
    const next = heard(before, [ofC, ofB], 30 * DAY);
    expect(names(next, 30 * DAY)).toEqual(['a', 'c']);
    expect(names(heard(next, [ofA], 30 * DAY), 30 * DAY)).toEqual(['c']);
  });

  it('is not undone by who has heard less of the same root', () => {
    const less = chain.map((record) => ({ ...record, signing: undefined, retirement: undefined, endorsements: [] }));
    for (const records of [
      [...chain, ...less],
      [...less, ...chain],
    ])
      expect(names(heard([a], records, 30 * DAY), 30 * DAY)).toEqual(['c']);
  });

  it('has no plan that lies further away than an overlap may, and is forgotten when nobody can ask any more', () => {
    const plan = (plannedMs: number) => names(heard([a], [introduction('b', 10 * DAY, ['a'], plannedMs)], 0), 0);
    expect(plan(10 * DAY + OVERLAP.maxMs)).toEqual(['a', 'b']);
    expect(plan(10 * DAY + OVERLAP.maxMs + 2 * HOUR)).toEqual(['a']);
    expect(plan(9 * DAY)).toEqual(['a']);
    const later = (23 + FORGET_DAYS) * DAY;
    expect(heard(heard([a], chain, 30 * DAY), chain, later).map(({ pem }) => pem)).toEqual(['c']);
    expect(heard([testFirst('c', 0)], [ofC, ofB, ofA], later).map(({ pem }) => pem)).toEqual(['c']);
  });
});

test('in whatever order and portions it is heard, all come to trust the same', () => {
  const said = [
    ...chain,
    introduction('d', 25 * DAY, ['c']),
    { ...introduction('e', 25 * DAY, ['b', 'c']), signing: word('sign', 'e', 'e', 26 * DAY) },
    introduction('x', 1, ['x']),
  ];
  const all = heard([a], said, 30 * DAY);
  expect(names(all, 30 * DAY)).toEqual(['c', 'd', 'e']);
  fc.assert(
    fc.property(
      fc.array(fc.subarray(said), { maxLength: 6 }),
      fc.shuffledSubarray(said, { minLength: said.length }),
      (some, rest) => {
        // What a retired root alone vouched for may come too late, which each of these had from another one as well.
        let roots: readonly TrustedRoot[] = heard([a], chain, 30 * DAY);
        for (const records of [...some, rest]) roots = heard(roots, records, 30 * DAY);
        expect(names(roots, 30 * DAY).sort()).toEqual(['c', 'd', 'e']);
        expect(names(heard([a], rest, 30 * DAY), 30 * DAY).sort()).toEqual(['c', 'd', 'e']);
      },
    ),
  );
});
