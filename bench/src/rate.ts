// SPDX-License-Identifier: Apache-2.0
/** What became of a configured rate. */
import type { Received } from '@marcher/e2e/harness/flow';

export interface Rate {
  readonly what: string;
  readonly configuredBitsPerSecond: number;
  readonly bitsPerSecond: number;
  readonly error: number;
  /** Of TCP connections: the least and the most that one had, of the even share. */
  readonly shares: readonly [number, number] | undefined;
}

/** Says it, too. connections: of TCP that share the rate; 0: datagrams. */
export const rateOf = (
  what: string,
  configuredBitsPerSecond: number,
  connections: number,
  { bitsPerSecond, each }: Received,
): Rate => {
  const error = bitsPerSecond / configuredBitsPerSecond - 1;
  console.error(`${new Date().toISOString().slice(11, 19)} ${what}: ${(error * 100).toFixed(2)} %`);
  // Probes are connections, too.
  const busiest = [...each].sort((a, b) => b - a).slice(0, connections);
  const even = bitsPerSecond / connections;
  const shares = connections > 1 ? ([Math.min(...busiest) / even, Math.max(...busiest) / even] as const) : undefined;
  return { what, configuredBitsPerSecond, bitsPerSecond, error, shares };
};
