// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { type Guard, GuardAction, GuardSchema, guardToFile, Protocol } from '@marcher/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalPrefix, decide, forget, type Scope } from './operator-guard.js';

const EVERY: Scope = { protocol: Protocol.UNSPECIFIED, ports: [] };
const SSH: Scope = { protocol: Protocol.TCP, ports: [{ first: 22, last: 22 }] };
const DENY = { action: GuardAction.DENY, unlimited: false };
const ALLOW = { action: GuardAction.ALLOW, unlimited: false };
const rulesOf = (guard: Guard | undefined) => guard && guardToFile(guard)['rules'];

test.each([
  ['203.0.113.7/32', '203.0.113.7'],
  ['203.0.113.0/24', '203.0.113.0/24'],
  ['2001:DB8:0:0::/32', '2001:db8::/32'],
  ['2001:db8::1/128', '2001:db8::1'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  // The agent says what is wrong with these.
  ['203.0.113.300', '203.0.113.300'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['a/b/c', 'a/b/c'],
])('%s is %s', (text, expected) => {
  expect(canonicalPrefix(text)).toBe(expected);
});

describe('one verdict for the same packets', () => {
  test('the later takes the place of the earlier, of the same ports alone', () => {
    let guard = decide(undefined, ['192.0.2.1', '192.0.2.2'], EVERY, DENY);
    guard = decide(guard, ['192.0.2.1'], SSH, DENY);
    guard = decide(guard, ['192.0.2.1/32'], EVERY, ALLOW);
    expect(rulesOf(guard)).toEqual([
      { action: 'deny', sources: ['192.0.2.2'] },
      { action: 'deny', sources: ['192.0.2.1'], protocol: 'tcp', ports: [22] },
      { action: 'allow', sources: ['192.0.2.1'] },
    ]);
    guard = decide(guard, ['192.0.2.2'], EVERY, { ...ALLOW, unlimited: true });
    expect(rulesOf(guard)).toHaveLength(3);
  });

  test('a rule that loses its last source goes: without sources it would be for everybody', () => {
    const guard = decide(decide(undefined, ['192.0.2.1'], EVERY, DENY), ['192.0.2.1'], EVERY, ALLOW);
    expect(rulesOf(guard)).toEqual([{ action: 'allow', sources: ['192.0.2.1'] }]);
    expect(forget(guard, ['192.0.2.1'], undefined)).toEqual({ guard: undefined, missing: [] });
    const everybody = create(GuardSchema, { name: 'operator', rules: [{ action: GuardAction.DENY }] });
    expect(rulesOf(decide(everybody, ['192.0.2.1'], EVERY, DENY))).toEqual([
      { action: 'deny' },
      { action: 'deny', sources: ['192.0.2.1'] },
    ]);
  });

  test('what the guard has besides stays', () => {
    const guard = create(GuardSchema, { name: 'operator', dropMartians: false });
    const denied = decide(guard, ['192.0.2.1'], EVERY, DENY);
    expect(denied.dropMartians).toBe(false);
    expect(forget(denied, ['192.0.2.1'], undefined).guard).toMatchObject({ dropMartians: false, rules: [] });
  });

  test('whatever is asked for in a row, each source has the last verdict on it and no other', () => {
    const step = fc.record({
      verb: fc.constantFrom('deny', 'allow', 'remove'),
      prefix: fc.constantFrom('192.0.2.1', '192.0.2.1/32', '2001:db8::1', '2001:DB8::0:1'),
      scope: fc.constantFrom(EVERY, SSH),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        let guard: Guard | undefined;
        const expected = new Map<string, string>();
        for (const { verb, prefix, scope } of steps) {
          const key = `${canonicalPrefix(prefix)} ${scope.protocol}`;
          if (verb === 'remove') {
            const result = forget(guard, [prefix], scope);
            expect(result.missing.length > 0).toBe(!expected.has(key));
            guard = result.guard;
            expected.delete(key);
          } else {
            guard = decide(guard, [prefix], scope, verb === 'deny' ? DENY : ALLOW);
            expected.set(key, verb);
          }
        }
        const found = (guard?.rules ?? []).flatMap(({ action, sources, protocol }) => {
          expect(sources).not.toEqual([]);
          return sources.map((source) => `${source} ${protocol} ${GuardAction[action]?.toLowerCase()}`);
        });
        expect(found.sort()).toEqual([...expected].map(([key, verb]) => `${key} ${verb}`).sort());
      }),
      { numRuns: 300 },
    );
  });
});
