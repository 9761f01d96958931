// SPDX-License-Identifier: Apache-2.0
/**
 * Whether this machine's clock is so far off its peers' that a write would be stamped wrong: in the future, where
 * others refuse it, or in the past, where it loses against older ones.
 */
export interface ClockJudgement {
  /** By how much most peers' clocks are ahead of ours; negative: behind. */
  readonly medianMs: number;
  readonly off: boolean;
}

/**
 * offsetsMs: each peer's clock less ours. Ours counts as one of them: of two nodes that disagree nobody can say which
 * is wrong, and both may write; of three, the one that two disagree with may not.
 */
export function judgeClock(offsetsMs: readonly number[], boundMs: number): ClockJudgement {
  const sorted = [0, ...offsetsMs].sort((a, b) => a - b);
  const high = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const low = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  const medianMs = Math.abs(low) <= Math.abs(high) ? low : high;
  return { medianMs, off: Math.abs(medianMs) > boundMs };
}

/**
 * Of an answer to a question that was sent at sentMs and came at receivedMs, by our clock; theirs is read in between.
 */
export function clockOffset(sentMs: number, receivedMs: number, theirsMs: number): number {
  return theirsMs - (sentMs + receivedMs) / 2;
}
