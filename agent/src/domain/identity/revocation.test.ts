// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIFETIME } from './lifetime.js';
import {
  isRevoked,
  NO_REVOCATIONS,
  nextCrlNumber,
  nodeSerial,
  prune,
  REVOCATION_REASON,
  REVOCATIONS_MAX,
  type Revocations,
  revoke,
  revokedNode,
  unite,
} from './revocation.js';

const NODE = '00000000000000a1';
const DAY = 86_400_000;

function revoked(target: { serial: string } | { nodeId: string }, nowMs = 0, before = NO_REVOCATIONS): Revocations {
  const verdict = revoke(before, target, REVOCATION_REASON.keyCompromise, nowMs);
  if (verdict.kind === 'refused') throw new Error(verdict.reason);
  return verdict.revocations;
}

const sets = fc
  .array(fc.tuple(fc.constantFrom('1', '2', '3', nodeSerial(NODE)), fc.nat({ max: 3 }), fc.constantFrom(0, 1, 4)), {
    maxLength: 5,
  })
  .map((rows): Revocations => {
    return new Map(rows.map(([serial, at, reason]) => [serial, { serial, revokedAtMs: at * 1_000, reason }]));
  });

function sorted(set: Revocations): unknown {
  return [...set].sort(([a], [b]) => (a < b ? -1 : 1));
}

describe('revocations', () => {
  it('are united in any order, any number of times', () => {
    fc.assert(
      fc.property(sets, sets, sets, (a, b, c) => {
        expect(sorted(unite([a, b]))).toEqual(sorted(unite([b, a])));
        expect(sorted(unite([unite([a, b]), c]))).toEqual(sorted(unite([a, unite([b, c])])));
        expect(sorted(unite([a, a]))).toEqual(sorted(a));
      }),
    );
  });

  it('find a serial however it is written', () => {
    const set = revoked({ serial: '00AB0c' });
    expect(isRevoked(set, { serial: 'ab0c', nodeId: NODE })).toBe(true);
    expect(isRevoked(set, { serial: 'ab0d', nodeId: NODE })).toBe(false);
  });

  it('of a node hold for every certificate that it has or gets, and for no other node', () => {
    const set = revoked({ nodeId: NODE });
    expect(isRevoked(set, { serial: '99', nodeId: NODE })).toBe(true);
    expect(isRevoked(set, { serial: '99', nodeId: '00000000000000a2' })).toBe(false);
    expect([...set.values()].map(revokedNode)).toEqual([NODE]);
  });

  it('keep the time of the first', () => {
    const set = revoked({ serial: '1' }, 9_999, revoked({ serial: '1' }, 5_500));
    expect(set.get('1')?.revokedAtMs).toBe(5_000);
  });

  it('are dropped when what they name must have expired, and not before', () => {
    const set = revoked({ nodeId: NODE }, 0, revoked({ serial: '1' }));
    expect(prune(set, LIFETIME.nodeMs + DAY).size).toBe(2);
    expect([...prune(set, LIFETIME.nodeMs + DAY + 1).keys()]).toEqual(['1']);
    expect(prune(set, LIFETIME.leafMaxMs + DAY + 1).size).toBe(0);
  });

  it.each([[{ serial: '' }], [{ serial: 'xyz' }], [{ serial: 'a'.repeat(41) }], [{ nodeId: 'a1' }], [{ nodeId: '' }]])(
    'refuse %j',
    (target) => {
      expect(revoke(NO_REVOCATIONS, target, 0, 0).kind).toBe('refused');
    },
  );

  it('are bounded, and still take one again that is there', () => {
    const rows = Array.from({ length: REVOCATIONS_MAX }, (_, at) => {
      const serial = (at + 1).toString(16);
      return [serial, { serial, revokedAtMs: 0, reason: 0 }] as const;
    });
    const full = new Map(rows);
    expect(revoke(full, { nodeId: NODE }, 0, 0)).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('2000'),
    });
    expect(revoke(full, { serial: '1' }, 0, 0).kind).toBe('revoked');
  });
});

describe("lists' numbers", () => {
  it('rise at one node, also when its clock is set back, and differ between nodes', () => {
    const first = nextCrlNumber(0n, 5_000, NODE);
    const second = nextCrlNumber(first, 4_000, NODE);
    expect(second).toBeGreaterThan(first);
    expect(nextCrlNumber(first, 9_000, NODE)).toBeGreaterThan(second);
    expect(nextCrlNumber(0n, 5_000, '00000000000000a2')).not.toBe(first);
    expect(nextCrlNumber(0n, 2 ** 48 - 1, 'f'.repeat(16)).toString(16).length).toBeLessThanOrEqual(28);
  });
});
