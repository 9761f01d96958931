// SPDX-License-Identifier: Apache-2.0
/** Services in the file form, as the suites use them. */
import type { ServiceFile } from '../harness/agent.js';
import { PACE } from '../harness/pace.js';
import type { World } from '../harness/suite.js';

/** Backends 1..n of the topology on port 8080, by name b1..bn. */
export const targets = (world: World, count: number, extra: Readonly<Record<string, unknown>> = {}): object[] =>
  Array.from({ length: count }, (_, i) => ({ name: `b${i + 1}`, address: `10.78.${i + 1}.2:8080`, ...extra })).filter(
    () => world.net.backends.length >= count,
  );

export const tcpService = (
  name: string,
  port: number,
  backends: readonly object[],
  extra: Readonly<Record<string, unknown>> = {},
): ServiceFile => ({
  name,
  listeners: [{ protocol: 'tcp', port }],
  backends,
  balance: { algorithm: 'round-robin' },
  ...extra,
});

export const udpService = (
  name: string,
  port: number,
  backends: readonly object[],
  extra: Readonly<Record<string, unknown>> = {},
): ServiceFile => ({
  name,
  listeners: [{ protocol: 'udp', port }],
  backends,
  balance: { algorithm: 'round-robin' },
  ...extra,
});

/** Probes quick enough for a test. */
export const quickHealth = {
  type: 'tcp',
  interval: `${200 * PACE}ms`,
  timeout: `${150 * PACE}ms`,
  fall: 2,
  rise: 2,
} as const;
