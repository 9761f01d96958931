// SPDX-License-Identifier: Apache-2.0
/** What an absent field means. The one place; docs/configuration.md repeats it for people. */
export const DEFAULTS = {
  backlog: 4096,
  weight: 1,
  connectMs: 5_000,
  idleMs: 300_000,
  udpIdleMs: 60_000,
  halfClosedMs: 30_000,
  drainMs: 30_000,
  udpMaxSessions: 65_536,
  dnsMinTtlMs: 1_000,
  dnsMaxTtlMs: 300_000,
  ipv4Prefix: 32,
  ipv6Prefix: 128,
  affinityTtlMs: 600_000,
  affinityMaxEntries: 65_536,
  healthIntervalMs: 2_000,
  healthTimeoutMs: 1_000,
  healthFall: 3,
  healthRise: 2,
  healthJitterPercent: 10,
  httpMethod: 'GET',
  httpPath: '/',
  httpStatusFirst: 200,
  httpStatusLast: 399,
  outlierFailures: 5,
  outlierBaseMs: 10_000,
  outlierMaxMs: 300_000,
  outlierMaxPercent: 50,
  /** gue in IANA's registry of service names. */
  guePort: 6_080,
  guardIpv4Prefix: 24,
  guardIpv6Prefix: 64,
  guardBurstMs: 1_000,
  synCookiesOnPerSecond: 10_000n,
  synCookiesOffPerSecond: 5_000n,
  /** P2, in the numbers of marcher.v1.Priority. */
  priority: 3,
  /** A bandwidth's burst: so much time's worth of its rate, and at least so many bytes. */
  bandwidthBurstMs: 50n,
  bandwidthBurstBytesMin: 65_536n,
} as const;

export const LIMITS = {
  services: 100_000,
  listenersPerService: 256,
  portRangesPerListener: 1_024,
  portsPerService: 65_535,
  prefixesPerListener: 1_024,
  backendsPerService: 1_000,
  /** Of services that are balanced by what all nodes of the mesh have open: so many of a node, by name, */
  meshLoadServices: 64,
  /** backends of one, and of all of them together. */
  meshLoadBackends: 256,
  meshLoadBackendsPerNode: 4_096,
  /** Addresses with port of a service that is forwarded by packets. */
  vipsPerService: 4_096,
  /** Of all services that are forwarded by packets (bpf/lib/layout.h). */
  packetServices: 16_384,
  packetVips: 65_536,
  packetBackends: 65_535,
  /** Of bpf/lib/steer.h: ranges and prefixes that sk_lookup steers, and what leads to them; others' listeners within them
   * have the rest. */
  steeredRanges: 4_096,
  steeredPorts: 245_760,
  /** Bits of a listener's prefix, at least: a shorter one is most often a mistake. */
  listenerIpv4PrefixMin: 8,
  listenerIpv6PrefixMin: 16,
  labels: 64,
  /** MARCHER_NAME_MAX with its final NUL. */
  backendNameBytes: 127,
  regionBytes: 31,
  weight: 256,
  tableEntries: 1 << 24,
  maglevTableSize: 5_000_011,
  probePayloadBytes: 1_400,
  probeBodyBytes: 4_096,
  expectStatuses: 64,
  violations: 1_000,
  guards: 64,
  rulesPerGuard: 10_000,
  /** Of all guards together; as many as xdp_guard has room for, less its own (bpf/lib/layout.h). */
  guardRules: 16_000,
  /** Of all guards together: each source of a rule with each of its port ranges. */
  guardEntries: 131_072,
  /** Of a rule, and of all rules for the same prefix and protocol. */
  portRangesPerPrefix: 128,
  trafficPolicies: 1_000,
  /** Of packets, bytes, SYNs or connections per second: the clock of a token bucket is in nanoseconds. */
  eventsPerSecond: 1_000_000_000n,
  bytesPerSecond: 1_000_000_000_000n,
  bandwidthBitsMin: 8_000n,
  bandwidthBitsMax: 10_000_000_000_000n,
  /** A bucket that never holds a whole frame passes none. */
  bandwidthBurstMin: 2_048n,
  bandwidthBurstMax: 1n << 32n,
  connectionBurstMax: 1_000_000_000n,
  dscp: 63,
} as const;
