// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Algorithm, formatViolation, locateViolations, Protocol, parseConfiguration } from './index.js';

function lines(text: string, source = 'c.yaml'): string[] {
  return (parseConfiguration(text, { source }).violations ?? []).map(formatViolation);
}

const HEAD = 'apiVersion: marcher/v1\nservices:\n';

test('the example of the documentation is read with every convenience', () => {
  const text = `${HEAD}  - name: web
    listeners: [{ protocol: tcp, port: "5000-5010" }, { protocol: udp, ports: [53, "60-61"] }]
    backends:
      - { address: "10.0.0.11:8080", weight: 2, region: eu, country: DE, softLimit: 800, hardLimit: 1000, sendProxy: v2 }
    balance: { algorithm: least-connections, affinity: { by: source-ip, ttl: 10m }, panicThreshold: "50%" }
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
  expect(service?.balance).toMatchObject({ algorithm: Algorithm.LEAST_CONNECTIONS, panicThresholdPercent: 50 });
  expect(service?.balance?.affinity?.ttlMs).toBe(600_000);
  expect(service?.health).toMatchObject({ intervalMs: 90_000, timeoutMs: 250 });
  expect(service?.health?.http?.expectStatus).toEqual(['200', '300-399']);
  expect(service?.timeouts).toMatchObject({ connectMs: 5_000, idleMs: 3_600_000 });
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
    [`${HEAD}  - { name: 7 }\n`, 'write a text: "7"'],
    [`${HEAD}  - { name: a, listeners: [{ port: 1, ports: 2 }] }\n`, 'stands beside ports'],
    [`${HEAD}  - { name: a, timeouts: { idle: 1.5ms } }\n`, 'not a whole number of milliseconds'],
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
});
