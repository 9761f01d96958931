// SPDX-License-Identifier: Apache-2.0
/** How timeouts and counts grow with the number of members. Formulas and figures: memberlist, util.go. */

/** Members up to which a state exchange takes place at the plain interval. */
const PUSH_PULL_THRESHOLD = 32;

/**
 * Least time that a member stays suspect: multiplier × max(1, log10 n) × probe interval, cut to thousandths of the
 * scale.
 */
export function suspicionTimeoutMs(multiplier: number, members: number, probeIntervalMs: number): number {
  const scale = Math.max(1, Math.log10(Math.max(1, members)));
  return (multiplier * Math.floor(scale * 1000) * probeIntervalMs) / 1000;
}

/** How often one message is passed on by one node: multiplier × ceil(log10(n + 1)). */
export function retransmitLimit(multiplier: number, members: number): number {
  return multiplier * Math.ceil(Math.log10(members + 1));
}

/** The 33rd member doubles the interval between state exchanges, the 65th trebles it, and so on. */
export function pushPullIntervalMs(intervalMs: number, members: number): number {
  if (members <= PUSH_PULL_THRESHOLD) return intervalMs;
  return (Math.ceil(Math.log2(members) - Math.log2(PUSH_PULL_THRESHOLD)) + 1) * intervalMs;
}

/**
 * When an indirect ping that nobody has answered yet is to be nacked. The Lifeguard paper (arXiv 1707.00788, IV.A) says
 * at 80 % of the probe timeout; memberlist waits for all of it, so that with its own LAN figures (500 ms of 1 s) a nack
 * always comes after the probe has ended, and every dead member costs its prober health. It must also fit into what the
 * prober has left.
 */
export function nackAfterMs(probeTimeoutMs: number, probeIntervalMs: number): number {
  return 0.8 * Math.min(probeTimeoutMs, probeIntervalMs - probeTimeoutMs);
}
