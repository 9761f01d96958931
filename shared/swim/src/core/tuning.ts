// SPDX-License-Identifier: Apache-2.0
/**
 * Times and counts of the protocol. Names follow memberlist's Config, and so do the figures of the three presets
 * (config.go).
 */
export interface Tuning {
  /** A member is probed this often, by each node. */
  readonly probeIntervalMs: number;
  /**
   * How long a direct ack may take before others are asked; the 99th percentile of round trips. Less than the interval.
   */
  readonly probeTimeoutMs: number;
  /** Members asked to ping in this node's stead. */
  readonly indirectChecks: number;
  /** A ping over a stream beside the indirect ones. */
  readonly streamPing: boolean;
  /**
   * The suspicion timeout is this × max(1, log10 n) × probe interval; this less 2 is how many confirmations are wanted.
   */
  readonly suspicionMultiplier: number;
  /** Without confirmations a suspicion lasts this many times longer. 1: Lifeguard's dynamic suspicion is off. */
  readonly suspicionMaxMultiplier: number;
  /** Bound of the health score, which is below it; 1: Lifeguard's local health is off. */
  readonly awarenessLimit: number;
  /** A probed suspect is told that it is one (Lifeguard's buddy system). */
  readonly buddy: boolean;
  readonly gossipIntervalMs: number;
  /** Members that each round of gossip goes to. */
  readonly gossipMembers: number;
  /** Dead members are still gossiped to for so long, so that they can refute; then forgotten. */
  readonly gossipToTheDeadMs: number;
  /** A message is passed on this × ceil(log10(n + 1)) times. */
  readonly retransmitMultiplier: number;
  /** Whole states are exchanged with a random member; scaled with the size of the cluster. 0: never. */
  readonly pushPullIntervalMs: number;
  /** For a stream to open, send and answer. */
  readonly streamTimeoutMs: number;
  /** After that a dead member's name may come back from another address. 0: never (one that has left always may). */
  readonly deadReclaimMs: number;
  /** How often a failed member is tried again by a state exchange (as serf does, config.go). 0: never. */
  readonly reconnectIntervalMs: number;
  /** For how long it is tried. */
  readonly reconnectForMs: number;
}

/** Bounds on what others can make this node hold. */
export interface Limits {
  /** Members known at a time, this node and the dead among them; further names are refused. */
  readonly members: number;
  /** Messages about members that wait to be gossiped. */
  readonly broadcasts: number;
  /** Messages of the user that wait to be gossiped. */
  readonly userBroadcasts: number;
  /** Indirect pings under way for others. */
  readonly relays: number;
  /** Streams that this node has opened. */
  readonly exchanges: number;
  /** Failed members remembered, to be tried again. */
  readonly remembered: number;
  /** Addresses in one join. */
  readonly joinTargets: number;
}

/** A local network. */
export const lan: Tuning = {
  probeIntervalMs: 1000,
  probeTimeoutMs: 500,
  indirectChecks: 3,
  streamPing: true,
  suspicionMultiplier: 4,
  suspicionMaxMultiplier: 6,
  awarenessLimit: 8,
  buddy: true,
  gossipIntervalMs: 200,
  gossipMembers: 3,
  gossipToTheDeadMs: 30_000,
  retransmitMultiplier: 4,
  pushPullIntervalMs: 30_000,
  streamTimeoutMs: 10_000,
  deadReclaimMs: 0,
  reconnectIntervalMs: 30_000,
  reconnectForMs: 24 * 3600_000,
};

/** Several places. */
export const wan: Tuning = {
  ...lan,
  probeIntervalMs: 5000,
  probeTimeoutMs: 3000,
  suspicionMultiplier: 6,
  gossipIntervalMs: 500,
  gossipMembers: 4,
  gossipToTheDeadMs: 60_000,
  pushPullIntervalMs: 60_000,
  streamTimeoutMs: 30_000,
};

/** One machine. */
export const local: Tuning = {
  ...lan,
  probeTimeoutMs: 200,
  indirectChecks: 1,
  suspicionMultiplier: 3,
  gossipIntervalMs: 100,
  gossipToTheDeadMs: 15_000,
  retransmitMultiplier: 2,
  pushPullIntervalMs: 15_000,
  streamTimeoutMs: 1000,
};

export const defaultLimits: Limits = {
  members: 16_384,
  broadcasts: 16_384,
  userBroadcasts: 1024,
  relays: 1024,
  exchanges: 64,
  remembered: 4096,
  joinTargets: 4096,
};

const COUNTS = ['indirectChecks', 'gossipMembers', 'retransmitMultiplier', 'awarenessLimit'] as const;
const TIMES = ['probeIntervalMs', 'probeTimeoutMs', 'gossipIntervalMs', 'streamTimeoutMs'] as const;
const MAY_BE_ZERO = [
  'gossipToTheDeadMs',
  'pushPullIntervalMs',
  'deadReclaimMs',
  'reconnectIntervalMs',
  'reconnectForMs',
] as const;

/** What is wrong with it, each with what is expected; empty: nothing. */
export function tuningErrors(tuning: Tuning): string[] {
  const errors: string[] = [];
  for (const name of COUNTS) {
    const least = name === 'indirectChecks' ? 0 : 1;
    if (!Number.isInteger(tuning[name]) || tuning[name] < least || tuning[name] > 100) {
      errors.push(`${name} is ${tuning[name]}: expected a whole number from ${least} to 100`);
    }
  }
  for (const name of TIMES) {
    if (!(tuning[name] >= 1 && tuning[name] <= 3600_000)) {
      errors.push(`${name} is ${tuning[name]}: expected from 1 to 3600000 milliseconds`);
    }
  }
  for (const name of MAY_BE_ZERO) {
    if (!(tuning[name] >= 0 && Number.isFinite(tuning[name]))) {
      errors.push(`${name} is ${tuning[name]}: expected milliseconds, 0 for never`);
    }
  }
  if (tuning.probeTimeoutMs >= tuning.probeIntervalMs) {
    errors.push(
      `probeTimeoutMs is ${tuning.probeTimeoutMs}: expected less than probeIntervalMs, ${tuning.probeIntervalMs}`,
    );
  }
  if (!(tuning.suspicionMultiplier >= 1)) {
    errors.push(`suspicionMultiplier is ${tuning.suspicionMultiplier}: expected 1 or more`);
  }
  if (!(tuning.suspicionMaxMultiplier >= 1)) {
    errors.push(`suspicionMaxMultiplier is ${tuning.suspicionMaxMultiplier}: expected 1 or more`);
  }
  return errors;
}
