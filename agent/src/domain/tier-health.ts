// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a packet tier that is attached does its work, from what its counters say over time: a pure function of samples.
 *
 *   good --bad for BAD_MS--> demoted --hold is over--> on trial --good for TRIAL_MS--> good
 *                               ^------ bad for BAD_MS, with twice the hold ------|
 *
 * While it is demoted it carries nothing that could be judged, so that only a trial can tell. Each change breaks the
 * connections that it moves; that is why being bad has to last, and why a tier that fails again and again is tried ever
 * more rarely.
 */
export interface TierSample {
  readonly ms: number;
  /** Packets that were sent on, and that could not be, since some time. */
  readonly forwarded: bigint;
  readonly failed: bigint;
  /** What most of those failed by. */
  readonly cause: string;
}

export interface Demotion {
  readonly sinceMs: number;
  /** When it is tried again. */
  readonly untilMs: number;
  readonly reason: string;
}

export interface TierHealth {
  /** Of the last WINDOW_MS, oldest first. */
  readonly samples: readonly TierSample[];
  /** The sample from which on it is bad. */
  readonly bad: TierSample | undefined;
  readonly demotion: Demotion | undefined;
  readonly promotedMs: number | undefined;
  /** Of the last demotion. */
  readonly holdMs: number;
}

/** What is looked at at once. A burst is bad for as long as it takes and this, which must be less than BAD_MS. */
export const WINDOW_MS = 2_000;
export const BAD_MS = 6_000;
export const HOLD_MS = 60_000;
export const HOLD_MAX_MS = 1_800_000;
export const TRIAL_MS = 300_000;
/** Of a window: fewer failures are let pass, and a smaller share of all packets. */
const FAILED_MIN = 10n;
const SHARE_PERCENT = 20n;

export const GOOD: TierHealth = {
  samples: [],
  bad: undefined,
  demotion: undefined,
  promotedMs: undefined,
  holdMs: 0,
};

function hold(health: TierHealth, ms: number): number {
  const onTrial = health.promotedMs !== undefined && ms - health.promotedMs < TRIAL_MS;
  return onTrial ? Math.min(health.holdMs * 2, HOLD_MAX_MS) : HOLD_MS;
}

export function judge(health: TierHealth, sample: TierSample): TierHealth {
  const { demotion } = health;
  const { ms } = sample;
  if (demotion !== undefined) {
    if (ms < demotion.untilMs) return health;
    return { ...health, samples: [sample], bad: undefined, demotion: undefined, promotedMs: ms };
  }
  const last = health.samples.at(-1);
  // Counters that begin anew (of a service that went, of maps made anew) and a clock that was set back say nothing.
  const anew = last !== undefined && (sample.forwarded < last.forwarded || sample.failed < last.failed || ms < last.ms);
  const samples = anew ? [sample] : [...health.samples.filter((one) => ms - one.ms <= WINDOW_MS), sample];
  const first = samples[0] ?? sample;
  const now = share(first, sample);
  if (now.failed < FAILED_MIN || now.failed * 100n < now.total * SHARE_PERCENT) {
    return { ...health, samples, bad: undefined };
  }
  const since = anew ? first : (health.bad ?? first);
  if (ms - since.ms < BAD_MS) return { ...health, samples, bad: since };
  const holdMs = hold(health, ms);
  const { failed, total } = share(since, sample);
  const seconds = Math.round((ms - since.ms) / 1_000);
  const reason = `${failed} of ${total} packets in ${seconds} s could not be sent on (mostly ${sample.cause})`;
  const demoted = { sinceMs: ms, untilMs: ms + holdMs, reason };
  return { samples: [], bad: undefined, demotion: demoted, promotedMs: health.promotedMs, holdMs };
}

function share(from: TierSample, to: TierSample): { failed: bigint; total: bigint } {
  const failed = to.failed - from.failed;
  return { failed, total: failed + to.forwarded - from.forwarded };
}
