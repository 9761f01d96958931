// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import {
  Algorithm,
  Ecn,
  formatViolation,
  GuardAction,
  LoadOf,
  locateViolations,
  Priority,
  Protocol,
  parseConfiguration,
  printConfiguration,
  SynCookiesMode,
} from './index.js';

function lines(text: string, source = 'c.yaml'): string[] {
  return (parseConfiguration(text, { source }).violations ?? []).map(formatViolation);
}

const HEAD = 'apiVersion: marcher/v1\nservices:\n';

test('the example of the documentation is read with every convenience', () => {
  const text = `${HEAD}  - name: web
    listeners: [{ protocol: tcp, port: "5000-5010" }, { protocol: udp, ports: [53, "60-61"] }]
    backends:
      - { address: "10.0.0.11:8080", weight: 2, region: eu, country: DE, softLimit: 800, hardLimit: 1000, sendProxy: v2 }
    balance: { algorithm: least-connections, loadOf: mesh, affinity: { by: source-ip, ttl: 10m }, panicThreshold: "50%" }
    health: { type: http, interval: 1m30s, timeout: 250ms, http: { path: /up, expectStatus: [200, "300-399"] } }
    timeouts: { connect: 5s, idle: 1h }
`;
  const service = parseConfiguration(text).configuration?.services[0];
  expect(service?.listeners.map(({ protocol }) => protocol)).toEqual([Protocol.TCP, Protocol.UDP]);
  expect(service?.listeners[0]?.ports[0]).toMatchObject({ first: 5000, last: 5010 });
  expect(service?.listeners[1]?.ports).toMatchObject([
    { first: 53, last: 53 },
    { first: 60, last: 61 },
  ]);
  expect(service?.balance).toMatchObject({
    algorithm: Algorithm.LEAST_CONNECTIONS,
    loadOf: LoadOf.MESH,
    panicThresholdPercent: 50,
  });
  expect(service?.balance?.affinity?.ttlMs).toBe(600_000);
  expect(service?.health).toMatchObject({ intervalMs: 90_000, timeoutMs: 250 });
  expect(service?.health?.http?.expectStatus).toEqual(['200', '300-399']);
  expect(service?.timeouts).toMatchObject({ connectMs: 5_000, idleMs: 3_600_000 });
});

const GUARDS = `apiVersion: marcher/v1
guards:
  - name: edge
    default: allow
    rules:
      - action: deny
        sources:
          - 203.0.113.0/24
        protocol: tcp
        ports:
          - 22
          - 8000-8100
      - action: redirect
        redirect:
          device: eth1
      - action: allow
        sources:
          - 192.0.2.1
        unlimited: true
    sourceLimits:
      ipv4Prefix: 24
      packetsPerSecond: 10000
      bytesPerSecond: 64MB
      burst: 1s
    synCookies:
      mode: always
      onPerSecond: 20000
    drop:
      martians: false
trafficPolicies:
  - name: gold
    priority: P0
    ingress:
      rate: 1500Mbit
      burst: 64KiB
    perConnection:
      egress:
        rate: 800kbit
    connections:
      rate: 100
      burst: 200
    dscp: EF
    ecn: mark
`;

test('guards and traffic policies are read without services, and printed as they were written', () => {
  const configuration = parseConfiguration(GUARDS).configuration;
  expect(configuration?.services).toEqual([]);
  expect(configuration?.guards[0]).toMatchObject({
    defaultAction: GuardAction.ALLOW,
    rules: [
      {
        action: GuardAction.DENY,
        protocol: Protocol.TCP,
        ports: [
          { first: 22, last: 22 },
          { first: 8_000, last: 8_100 },
        ],
      },
      { action: GuardAction.REDIRECT, redirectDevice: 'eth1' },
      { action: GuardAction.ALLOW, unlimited: true },
    ],
    sourceLimits: { ipv4Prefix: 24, packetsPerSecond: 10_000n, bytesPerSecond: 64_000_000n, burstMs: 1_000 },
    synCookies: { mode: SynCookiesMode.ALWAYS, onPerSecond: 20_000n },
    dropMartians: false,
  });
  expect(configuration?.trafficPolicies[0]).toMatchObject({
    priority: Priority.P0,
    ingress: { rate: 1_500_000_000n, burst: 65_536n },
    connectionEgress: { rate: 800_000n },
    connections: { perSecond: 100n, burst: 200n },
    dscp: 46,
    ecn: Ecn.MARK,
  });
  expect(configuration && printConfiguration(configuration)).toBe(GUARDS);
});

test.each([
  ['1.5Gbit', 1_500_000_000n],
  ['100 mbit', 100_000_000n],
  ['0.8kbit', 800n],
])('a bandwidth of %s', (rate, bits) => {
  const text = `apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, ingress: { rate: ${rate} } }]\n`;
  expect(parseConfiguration(text).configuration?.trafficPolicies[0]?.ingress?.rate).toBe(bits);
});

test('all mistakes are reported at once, with place and fix', () => {
  const text = `${HEAD}  - nmae: web
    listeners: [{ protocol: tpc, port: eighty }]
    backends:
      - { address: 80, wieght: 2 }
    timeouts: { connect: 5, idle: 5 minutes }
`;
  expect(lines(text)).toMatchInlineSnapshot(`
    [
      "c.yaml:3:5: services[0].name: is missing (add it: a text)",
      "c.yaml:4:19: services[0].listeners[0].protocol: "tpc" is not possible here (did you mean tcp? Otherwise write one of tcp, udp)",
      "c.yaml:4:34: services[0].listeners[0].port: "eighty" is not a port (write a port such as 80, a range such as "5000-5010", or a list of those)",
      "c.yaml:6:11: services[0].backends[0].address: is 80, not a text (write a text: "80")",
      "c.yaml:6:24: services[0].backends[0].wieght: is not a known field (did you mean weight?)",
      "c.yaml:7:17: services[0].timeouts.connect: 5 has no unit (write a number with a unit, such as "250ms", "2s", "1m30s" or "1h")",
      "c.yaml:7:29: services[0].timeouts.idle: "5 minutes" is not a duration (write a number with a unit, such as "250ms", "2s", "1m30s" or "1h")",
      "c.yaml:3:5: services[0].nmae: is not a known field (did you mean name?)",
    ]
  `);
});

describe('one mistake each', () => {
  const table: [string, string][] = [
    ['', 'is empty'],
    ['# only a comment\n', 'is empty'],
    ['services: []\n', 'apiVersion: is missing'],
    ['apiVersion: marcher/v2\nservices: []\n', 'write marcher/v1'],
    ['apiVersion: marcher/v1\n', 'services: is missing'],
    ['apiVersion: marcher/v1\nservices:\n', 'services: is empty, not a list'],
    ['a: [1\n', 'is not valid YAML'],
    ['a: 1\na: 2\n', 'is not valid YAML'],
    [
      'apiVersion: marcher/v1\nguards: [{ name: a, rules: [{ actoin: deny, action: deny }] }]\n',
      'did you mean action?',
    ],
    ['apiVersion: marcher/v1\nguards: [{ name: a, rules: [{ action: drop }] }]\n', 'allow, deny, redirect'],
    ['apiVersion: marcher/v1\nguards: [{ name: a, rules: [{ action: deny, sources: [] }] }]\n', 'for every source'],
    [
      'apiVersion: marcher/v1\nguards: [{ name: a, rules: [{ action: deny, protocol: tcp, ports: [] }] }]\n',
      'for every port (remove the rule',
    ],
    ['apiVersion: marcher/v1\nguards: [{ name: a, default: redirect }]\n', 'write one of allow, deny'],
    ['apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, ingress: { rate: 100 } }]\n', '100 has no unit'],
    ['apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, ingress: {} }]\n', 'ingress.rate: is missing'],
    [
      'apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, ingress: { rate: 1.5bit } }]\n',
      'not a whole number of bits',
    ],
    ['apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, ingress: { rate: 12Mbps } }]\n', 'is not a bandwidth'],
    [
      'apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, egress: { rate: 1bit, burst: 1kilo } }]\n',
      'is not an amount of bytes',
    ],
    ['apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, dscp: AF44 }]\n', '"AF44" is not a DSCP'],
    ['apiVersion: marcher/v1\ntrafficPolicies: [{ name: a, priority: p0 }]\n', 'did you mean P0?'],
    [`${HEAD}  - { name: 7 }\n`, 'write a text: "7"'],
    [`${HEAD}  - { name: a, listeners: [{ port: 1, ports: 2 }] }\n`, 'stands beside ports'],
    [`${HEAD}  - { name: a, timeouts: { idle: 1.5ms } }\n`, 'not a whole number of milliseconds'],
    [`${HEAD}  - { name: a, udp: { quic: { configIds: [0, 1.5] } } }\n`, '1.5 is not a whole number'],
    [`${HEAD}  - { name: a, udp: { quic: { configIds: [-1] } } }\n`, '-1 is not a whole number'],
    [`${HEAD}  - { name: a, health: { udp: { payload: { hex: abc } } } }\n`, 'does not describe bytes'],
  ];
  for (const [text, expected] of table) {
    test(expected, () => {
      const found = lines(text);
      expect(found).toHaveLength(1);
      expect(found[0]).toContain(expected);
    });
  }
});

test('JSON is read as JSON, and its mistakes have positions', () => {
  const good = '{"apiVersion":"marcher/v1","services":[{"name":"a"}]}';
  expect(parseConfiguration(good).configuration?.services[0]?.name).toBe('a');
  expect(lines('{"apiVersion":"marcher/v1",\n"services":[{"name":1}]}', 'c.json')[0]).toContain(
    'c.json:2:14: services[0].name',
  );
  expect(lines('{\n"a": ]', 'c.json')[0]).toMatch(/^c\.json:2:6: is not valid JSON/);
});

test('several documents are one configuration, and mistakes say in which', () => {
  const result = parseConfiguration(`${HEAD}  - name: a\n---\n${HEAD}  - name: b\n---\n`);
  expect(result.configuration?.services.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(lines(`${HEAD}  - name: a\n---\n${HEAD}  - nme: b\n`)[0]).toContain('c.yaml:7:5: documents[1].services[0]');
});

test('anchors are shared values, and do not expand without bound', () => {
  const shared = `${HEAD}  - { name: a, health: &h { type: tcp } }\n  - { name: b, health: *h }\n`;
  expect(parseConfiguration(shared).configuration?.services[1]?.health?.type).toBe(1);
  const merged = `${HEAD}  - &base { name: a, timeouts: { idle: 1s } }\n  - { <<: *base, name: b }\n`;
  expect(parseConfiguration(merged).configuration?.services[1]).toMatchObject({
    name: 'b',
    timeouts: { idleMs: 1_000 },
  });

  let laughs = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
  for (let i = 1; i < 12; i++)
    laughs += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(', ')}]\n`;
  const started = performance.now();
  expect(lines(laughs)[0]).toContain('aliases expand to more than');
  expect(performance.now() - started).toBeLessThan(1_000);
  expect(lines('a: &a [*a]\n')[0]).toContain('refers to itself');
});

test('nesting deeper than the stack is a mistake, not a crash', () => {
  expect(lines('['.repeat(100_000))).not.toHaveLength(0);
  expect(lines(`${'{"a":'.repeat(100_000)}1`, 'c.json')).not.toHaveLength(0);
});

test('a text beyond the limit is refused before it is parsed', () => {
  expect(lines(' '.repeat(64 * 1024 * 1024 + 1))[0]).toContain('is larger than');
});

test('keys that mean something to JavaScript mean nothing here', () => {
  const found = lines('{"apiVersion":"marcher/v1","services":[],"__proto__":{"x":1}}', 'c.json');
  expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  expect(found.every((line) => line.includes('__proto__'))).toBe(true);
});

test('what the agent finds later gets its line too, over several documents', () => {
  const text = `${HEAD}  - name: a\n---\n${HEAD}  - name: b\n    backends:\n      - address: x\n`;
  const located = locateViolations(text, [{ path: 'services[1].backends[0].address', reason: 'r', fix: 'f' }], {
    source: 'c',
  });
  expect(located.map(formatViolation)).toEqual(['c:9:9: services[1].backends[0].address: r (f)']);

  const guards = `${HEAD}  - name: a\n---\napiVersion: marcher/v1\nguards:\n  - name: b\n---\n${HEAD}  - name: c\nguards:\n  - name: d\n`;
  const each = ['services[1].name', 'guards[0].name', 'guards[1].name'];
  const places = locateViolations(
    guards,
    each.map((path) => ({ path, reason: 'r', fix: 'f' })),
  );
  expect(places.map(({ line }) => line)).toEqual([11, 7, 13]);
});
