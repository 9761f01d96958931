// SPDX-License-Identifier: Apache-2.0
import { create, equals, toJson } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Configuration, ConfigurationSchema, parseConfiguration, printConfiguration } from './index.js';

const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const amount = fc.oneof(
  u64,
  fc.constantFrom(0n, 1_000n, 1_500_000_000n, 800_000n, 65_536n, 1_000_000n, 1_024_000n, 999n, 2n ** 63n),
);
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 24 });
const label = fc.stringMatching(/^[a-z][a-z0-9._/-]{0,10}$/);

function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as T;
}
const message = <T extends Record<string, fc.Arbitrary<unknown>>>(fields: T) =>
  fc.record(fields).map((value) => defined(value as object));

const service = message({
  name: text,
  listeners: fc.array(
    message({
      protocol: fc.constantFrom(0, 1, 2),
      address: text,
      ports: fc.array(message({ first: fc.nat(99_999), last: fc.nat(99_999) }), { maxLength: 3 }),
      acceptProxyFrom: fc.array(text, { maxLength: 2 }),
      maxConnections: maybe(u32),
      backlog: maybe(u32),
    }),
    { maxLength: 3 },
  ),
  backends: fc.array(
    message({
      address: text,
      name: text,
      weight: maybe(u32),
      region: text,
      country: text,
      softLimit: maybe(u32),
      hardLimit: maybe(u32),
      sendProxy: fc.constantFrom(0, 1, 2),
      sourceAddress: text,
      drain: fc.boolean(),
      quicServerId: text,
    }),
    { maxLength: 3 },
  ),
  balance: maybe(
    message({
      algorithm: fc.constantFrom(0, 1, 2, 3, 4, 5, 6),
      loadOf: fc.constantFrom(0, 1, 2),
      affinity: maybe(
        message({
          by: fc.constant(1),
          ttlMs: maybe(u32),
          ipv4Prefix: maybe(u32),
          ipv6Prefix: maybe(u32),
          maxEntries: maybe(u32),
        }),
      ),
      panicThresholdPercent: maybe(u32),
      slowStartMs: maybe(u32),
      maglevTableSize: maybe(u32),
    }),
  ),
  health: maybe(
    message({
      type: fc.constantFrom(0, 1, 2, 3),
      intervalMs: maybe(u32),
      timeoutMs: maybe(u32),
      fall: maybe(u32),
      rise: maybe(u32),
      jitterPercent: maybe(u32),
      port: maybe(u32),
      http: maybe(
        message({
          method: text,
          path: text,
          host: text,
          expectStatus: fc.array(fc.oneof(text, fc.constantFrom('200', '200-299')), { maxLength: 3 }),
          expectBody: text,
        }),
      ),
      udp: maybe(message({ payload: bytes, expect: bytes })),
    }),
  ),
  outlier: maybe(
    message({
      enabled: maybe(fc.boolean()),
      consecutiveFailures: maybe(u32),
      baseEjectionMs: maybe(u32),
      maxEjectionMs: maybe(u32),
      maxEjectedPercent: maybe(u32),
    }),
  ),
  timeouts: maybe(
    message({ connectMs: maybe(u32), idleMs: maybe(u32), halfClosedMs: maybe(u32), drainMs: maybe(u32) }),
  ),
  limits: maybe(
    message({
      maxConnections: maybe(u32),
      maxConnectionsPerSource: maybe(u32),
      sourceIpv4Prefix: maybe(u32),
      sourceIpv6Prefix: maybe(u32),
    }),
  ),
  udp: maybe(
    message({
      maxSessions: maybe(u32),
      quic: maybe(message({ configIds: fc.array(u32, { maxLength: 3 }), lengthSelfEncoded: maybe(fc.boolean()) })),
    }),
  ),
  dns: maybe(message({ minTtlMs: maybe(u32), maxTtlMs: maybe(u32) })),
  labels: fc.dictionary(label, text, { maxKeys: 3 }),
  forwarding: maybe(
    message({ mode: fc.constantFrom(0, 1, 2, 3, 4, 5), guePort: maybe(u32), sourceNat: maybe(fc.boolean()) }),
  ),
  trafficPolicy: text,
  cluster: text,
});

const guard = message({
  name: text,
  defaultAction: fc.constantFrom(0, 1, 2),
  rules: fc.array(
    message({
      action: fc.constantFrom(1, 2, 3),
      sources: fc.array(text, { maxLength: 3 }),
      protocol: fc.constantFrom(0, 1, 2),
      ports: fc.array(message({ first: fc.nat(99_999), last: fc.nat(99_999) }), { maxLength: 3 }),
      unlimited: fc.boolean(),
      redirectDevice: text,
      redirectAddress: text,
    }),
    { maxLength: 3 },
  ),
  sourceLimits: maybe(
    message({
      ipv4Prefix: maybe(u32),
      ipv6Prefix: maybe(u32),
      packetsPerSecond: maybe(u64),
      bytesPerSecond: maybe(amount),
      connectionsPerSecond: maybe(u64),
      burstMs: maybe(u32),
    }),
  ),
  synCookies: maybe(message({ mode: fc.constantFrom(0, 1, 2, 3), onPerSecond: maybe(u64), offPerSecond: maybe(u64) })),
  dropMalformed: maybe(fc.boolean()),
  dropBadFragments: maybe(fc.boolean()),
  dropMartians: maybe(fc.boolean()),
  cluster: text,
});

const bandwidth = maybe(message({ rate: amount, burst: maybe(amount) }));
const trafficPolicy = message({
  name: text,
  priority: fc.constantFrom(0, 1, 2, 3, 4),
  ingress: bandwidth,
  egress: bandwidth,
  connectionIngress: bandwidth,
  connectionEgress: bandwidth,
  connections: maybe(message({ perSecond: u64, burst: maybe(u64) })),
  dscp: maybe(fc.oneof(fc.nat(63), u32)),
  ecn: fc.constantFrom(0, 1, 2),
  cluster: text,
});

const configuration = message({
  services: fc.array(service, { maxLength: 4 }),
  guards: fc.array(guard, { maxLength: 3 }),
  trafficPolicies: fc.array(trafficPolicy, { maxLength: 3 }),
}).map((fields) => create(ConfigurationSchema, fields as Parameters<typeof create<typeof ConfigurationSchema>>[1]));

describe('every configuration survives printing and parsing', () => {
  for (const format of ['yaml', 'json'] as const) {
    test(format, () => {
      fc.assert(
        fc.property(configuration, (before: Configuration) => {
          const printed = printConfiguration(before, format);
          const parsed = parseConfiguration(printed, { format });
          expect(parsed.violations).toBeUndefined();
          const after = parsed.configuration as Configuration;
          if (!equals(ConfigurationSchema, before, after)) {
            expect(toJson(ConfigurationSchema, after)).toEqual(toJson(ConfigurationSchema, before));
            throw new Error(`differs after: ${printed}`);
          }
        }),
        { numRuns: 300 },
      );
    });
  }
});
