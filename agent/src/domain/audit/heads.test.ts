// SPDX-License-Identifier: Apache-2.0
import type { Head } from '@marcher/audit';
import { describe, expect, test } from 'vitest';
import { contradictions, HEADS_MAX, judgeHead, superfluous } from './heads.js';

function head(sequence: number, timeMs: number, story = 1, log = 1): Head {
  const hash = new Uint8Array(32).fill(story);
  const signature = new Uint8Array(64);
  return { node: '00000000000000a1', log: new Uint8Array(16).fill(log), sequence, hash, timeMs, signature };
}

const brief = (heads: readonly Head[]): string[] =>
  contradictions(heads).map(({ kind, sequence }) => `${kind} ${sequence}`);

describe('heads of a node', () => {
  test.each([
    ['its first', [], head(5, 10), 'keep'],
    ['a later one', [head(5, 10)], head(6, 20), 'keep'],
    ['the same, signed again', [head(5, 10)], head(5, 20), 'old'],
    ['an old one that somebody put back', [head(5, 10), head(9, 20)], head(7, 15), 'old'],
    ['another record of a number that is known', [head(5, 10), head(9, 20)], head(5, 5, 2), 'keep'],
    ['a later one that goes back', [head(9, 20)], head(7, 30), 'keep'],
    ['a later one of another log', [head(9, 20)], head(1, 30, 1, 2), 'keep'],
    ['an older one of another log', [head(9, 20)], head(1, 10, 1, 2), 'old'],
  ])('%s', (_what, kept, next, kind) => {
    expect(judgeHead(kept, next).kind).toBe(kind);
  });

  test('that go on contradict each other in nothing', () => {
    expect(brief([head(1, 1), head(5, 2), head(5, 3), head(9, 4)])).toEqual([]);
  });

  test('name the record in which they contradict each other, in any order, and what follows counts anew', () => {
    expect(brief([head(9, 3), head(5, 1), head(9, 2, 2)])).toEqual(['fork 9']);
    expect(brief([head(9, 1), head(7, 2), head(8, 3)])).toEqual(['shortened 8']);
    expect(brief([head(9, 1), head(2, 2, 1, 2), head(3, 3, 1, 2)])).toEqual(['replaced 9']);
  });

  test('become ever fewer the older they are, but the first one, the newest and proofs stay', () => {
    let kept: Head[] = [];
    for (let i = 1; i <= 5_000; i++) {
      kept.push(head(i, i));
      if (i === 100) kept.push(head(100, 100.5, 2));
      const dropped = new Set(superfluous(kept));
      kept = kept.filter((one) => !dropped.has(one));
      expect(kept.length).toBeLessThanOrEqual(HEADS_MAX + 2);
    }
    expect(kept.map(({ sequence }) => sequence)).toEqual(expect.arrayContaining([1, 100, 4_990, 5_000]));
    expect(brief(kept)).toEqual(['fork 100']);
  });
});
