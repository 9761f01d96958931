// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import {
  type Guard,
  GuardAction,
  GuardSchema,
  type Protocol,
  parseConfiguration,
  type SynCookiesMode,
} from '@marcher/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from './defaults.js';
import { Faults } from './faults.js';
import { validateGuard, validateGuardsTogether } from './guard.js';

function guard(fields: object): Guard {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', guards: [{ name: 'edge', ...fields }] });
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  return configuration.guards[0] as Guard;
}

function faultsOf(one: Guard): string[] {
  const found = new Faults();
  validateGuard(one, 'g', found);
  return found.list.map(({ path, reason, fix }) => `${path}: ${reason} -> ${fix}`);
}

const faults = (fields: object) => faultsOf(guard(fields));
const rule = (fields: object) => ({ rules: [{ action: 'deny', ...fields }] });

test('what an operator would expect to be valid is valid', () => {
  for (const fields of [
    {},
    { default: 'deny' },
    rule({}),
    rule({ sources: ['203.0.113.0/24', '2001:db8::/32', '0.0.0.0/0', '192.0.2.1'] }),
    rule({ protocol: 'tcp', ports: [22, '8000-8100', '1-65535'] }),
    rule({ action: 'redirect', redirect: { device: 'eth1.100' } }),
    rule({ action: 'redirect', redirect: { address: '2001:db8::1' } }),
    rule({ action: 'allow', unlimited: true }),
    { sourceLimits: { packetsPerSecond: 1, burst: '1ms' } },
    { sourceLimits: { ipv4Prefix: 32, ipv6Prefix: 128, bytesPerSecond: '1TB', connectionsPerSecond: 10 } },
    { synCookies: {} },
    { synCookies: { mode: 'always', onPerSecond: 2, offPerSecond: 1 } },
    { drop: { malformed: false, badFragments: false, martians: false } },
  ]) {
    expect(faults(fields), JSON.stringify(fields)).toEqual([]);
  }
});

describe('one mistake each, with its place and what to write', () => {
  const table: [object, string][] = [
    [{ name: 'Edge' }, 'g.name: "Edge" is not a guard name'],
    [rule({ sources: ['203.0.113.0/33'] }), 'g.rules[0].sources[0]: "203.0.113.0/33" is not a prefix'],
    [rule({ sources: ['203.0.113.1', '10.0.0.1/8'] }), 'g.rules[0].sources[1]: "10.0.0.1/8" has bits set beyond'],
    [rule({ ports: [22] }), 'g.rules[0].ports: are of no protocol -> write protocol: tcp or protocol: udp'],
    [rule({ protocol: 'tcp', ports: [22, 0] }), 'g.rules[0].ports[1]: 0 is not a port'],
    [
      rule({ protocol: 'udp', ports: ['90-80'] }),
      'g.rules[0].ports[0]: the range 90-80 runs backwards -> write "80-90"',
    ],
    [
      rule({ protocol: 'udp', ports: Array.from({ length: 129 }, (_, i) => i + 1) }),
      'g.rules[0].ports: has 129 ports and ranges',
    ],
    [rule({ unlimited: true }), 'g.rules[0].unlimited: stands beside an action that is not allow'],
    [rule({ redirect: { device: 'eth1' } }), 'g.rules[0].redirect: stands beside an action that is not redirect'],
    [rule({ action: 'redirect' }), 'g.rules[0].redirect: says neither device nor address'],
    [
      rule({ action: 'redirect', redirect: { device: 'eth1', address: '192.0.2.1' } }),
      'g.rules[0].redirect: says both device and address',
    ],
    [
      rule({ action: 'redirect', redirect: { device: 'sixteen-letters-' } }),
      'g.rules[0].redirect.device: "sixteen-letters-" is not the name of a device',
    ],
    [rule({ action: 'redirect', redirect: { device: 'a/b' } }), 'g.rules[0].redirect.device: "a/b" is not the name'],
    [rule({ action: 'redirect', redirect: { address: 'scrubber' } }), '"scrubber" is not an IP address'],
    [rule({ action: 'redirect', redirect: { address: '224.0.0.1' } }), '224.0.0.1 is not the address of one host'],
    [rule({ action: 'redirect', redirect: { address: '::1' } }), '::1 is not the address of one host'],
    [{ sourceLimits: {} }, 'g.sourceLimits: limits nothing'],
    [{ sourceLimits: { packetsPerSecond: 0 } }, 'g.sourceLimits.packetsPerSecond: 0 is out of range'],
    [{ sourceLimits: { bytesPerSecond: '2TB' } }, 'g.sourceLimits.bytesPerSecond: 2000000000000 is out of range'],
    [{ sourceLimits: { connectionsPerSecond: 1, ipv4Prefix: 33 } }, 'g.sourceLimits.ipv4Prefix: 33 is out of range'],
    [{ sourceLimits: { connectionsPerSecond: 1, ipv6Prefix: 0 } }, 'g.sourceLimits.ipv6Prefix: 0 is out of range'],
    [{ sourceLimits: { connectionsPerSecond: 1, burst: '2m' } }, 'g.sourceLimits.burst: 2m is out of range'],
    [{ synCookies: { onPerSecond: 5000 } }, 'g.synCookies.onPerSecond: they would go off at 5000'],
    [{ synCookies: { onPerSecond: 5, offPerSecond: 5 } }, 'g.synCookies.offPerSecond: they would go off at 5'],
    [{ synCookies: { offPerSecond: 0 } }, 'g.synCookies.offPerSecond: 0 is out of range'],
  ];
  test.each(table)('%j', (fields, expected) => {
    const found = faults(fields);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
    expect(found[0]).toMatch(/ -> ./);
  });

  test('what only the API can say', () => {
    const { UNSPECIFIED, REDIRECT } = GuardAction;
    const odd = create(GuardSchema, {
      name: 'a',
      defaultAction: REDIRECT,
      rules: [{ action: UNSPECIFIED }, { action: 77 as GuardAction, protocol: 9 as Protocol }],
      synCookies: { mode: 8 as SynCookiesMode },
    });
    expect(faultsOf(odd).map((line) => line.split(' -> ')[0])).toEqual([
      'g.default: redirect needs a rule that says where to',
      'g.rules[0].action: is missing',
      'g.rules[1].action: 77 is not a value that this version knows',
      'g.rules[1].protocol: 9 is not a value that this version knows',
      'g.synCookies.mode: 8 is not a value that this version knows',
    ]);
  });
});

test('all mistakes are told at once, and no more than a person reads', () => {
  const rules = Array.from({ length: 2_000 }, () => ({ action: 'deny', sources: ['x', 'y'] }));
  expect(faults({ rules })).toHaveLength(LIMITS.violations);
  expect(faults({ rules: [{ action: 'deny', sources: ['x'], ports: [1] }, { action: 'redirect' }] })).toHaveLength(3);
});

describe('guards together', () => {
  const together = (...guards: [name: string, fields: object, changed?: boolean][]): string[] => {
    const found = new Faults();
    const placed = guards.map(([name, fields, changed = true], i) => {
      return { guard: guard({ name, ...fields }), path: changed ? `guards[${i}]` : '' };
    });
    validateGuardsTogether(placed, found);
    return found.list.map(({ path, reason }) => `${path}: ${reason}`);
  };
  const rules = (...all: object[]) => ({ rules: all });
  const deny = { action: 'deny', sources: ['203.0.113.0/24'] };
  const allow = { ...deny, action: 'allow' };

  test('limits, SYN cookies, defaults and what is dropped stand in one of them', () => {
    const all = { default: 'deny', sourceLimits: { packetsPerSecond: 1 }, synCookies: {}, drop: { martians: true } };
    expect(together(['a', all], ['b', {}])).toEqual([]);
    expect(together(['a', all], ['b', all, false])).toEqual(
      ['default', 'sourceLimits', 'synCookies', 'drop.martians'].map(
        (field) => `guards[0].${field}: stands in guard "b" too, and all guards are one`,
      ),
    );
  });

  test('the same packets are not decided upon twice', () => {
    expect(together(['a', rules(deny)], ['b', rules(allow)])).toEqual([
      'guards[1].rules[0].sources[0]: allow of 203.0.113.0/24 contradicts deny of the same in guard "a", rules[0]',
    ]);
    expect(together(['a', rules(deny), true], ['b', rules(allow), false])).toEqual([
      'guards[0].rules[0].sources[0]: deny of 203.0.113.0/24 contradicts allow of the same in guard "b", rules[0]',
    ]);
    const tcp = { protocol: 'tcp' };
    expect(together(['a', rules({ ...deny, ...tcp, ports: ['80-90'] }, { ...allow, ...tcp, ports: [85] })])).toEqual([
      'guards[0].rules[1].sources[0]: allow of tcp port 85 from 203.0.113.0/24 contradicts deny of the same in rules[0]',
    ]);
    expect(together(['a', rules({ action: 'deny' }, { action: 'allow', sources: ['::/0'] })])).toEqual([
      'guards[0].rules[1].sources[0]: allow of ::/0 contradicts deny of the same in rules[0]',
    ]);
    const redirect = (device: string) => ({ ...deny, action: 'redirect', redirect: { device } });
    expect(together(['a', rules(redirect('eth1'), redirect('eth2'))])).toHaveLength(1);
    expect(together(['a', rules(allow, { ...allow, unlimited: true })])).toHaveLength(1);
  });

  test('what is more specific, other or the same contradicts nothing', () => {
    const tcp = { protocol: 'tcp' };
    for (const others of [
      [deny],
      [{ ...allow, ...tcp }],
      [
        { ...allow, ...tcp, ports: [80] },
        { ...deny, ...tcp },
      ],
      [
        { ...allow, ...tcp, ports: [80] },
        { ...deny, protocol: 'udp', ports: [80] },
      ],
      [
        { ...allow, ...tcp, ports: [80] },
        { ...deny, ...tcp, ports: ['81-90'] },
      ],
      [{ action: 'allow', sources: ['203.0.113.0/25'] }],
      [{ action: 'allow' }],
    ]) {
      expect(together(['a', rules(deny)], ['b', rules(...others)]), JSON.stringify(others)).toEqual([]);
    }
  });

  test('ranges that overlap are found whatever their order: as comparing each with each', () => {
    const range = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.nat(4), fc.constantFrom('allow', 'deny'));
    fc.assert(
      fc.property(fc.array(range, { maxLength: 6 }), (ranges) => {
        const all = ranges.map(([first, more, action]) => {
          return { action, protocol: 'tcp', ports: [`${first}-${first + more}`], sources: ['10.0.0.0/8'] };
        });
        const overlap = ranges.some(([a, n, x], i) =>
          ranges.slice(i + 1).some(([b, m, y]) => x !== y && a <= b + m && b <= a + n),
        );
        expect(together(['a', rules(...all)]).length > 0).toBe(overlap);
      }),
      { numRuns: 300 },
    );
  });

  test('what all guards may have is counted over all', () => {
    const many = (count: number, name: string) => ({
      rules: Array.from({ length: count }, (_, i) => ({
        action: 'deny',
        sources: [`2001:db8:${name}::${i.toString(16)}`],
      })),
    });
    expect(together(['a', many(8_000, 'a')], ['b', many(8_000, 'b')])).toEqual([]);
    expect(together(['a', many(8_000, 'a')], ['b', many(8_001, 'b')])).toEqual([
      'guards[1].rules: with it the guards have 16001 rules or more',
    ]);
    const ports = (first: number) => Array.from({ length: 65 }, (_, i) => first + 2 * i);
    const of = (first: number) => rules({ ...deny, protocol: 'udp', ports: ports(first) });
    expect(together(['a', of(1), false], ['b', of(1_000)])).toEqual([
      'guards[1].rules[0].ports: 130 ports and ranges are named for 203.0.113.0/24 by all rules together',
    ]);
  });

  test('more sources than all guards may have are refused before they are compared', () => {
    const sources = Array.from({ length: 70_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    expect(together(['a', rules({ action: 'deny', sources })], ['b', rules({ action: 'allow', sources })])).toEqual([
      expect.stringMatching(/^guards\[1\]\.rules: with it the guards have more than 131072 sources/),
    ]);
    expect(together(['a', rules({ action: 'deny', sources })])).toEqual([]);
  });
});
