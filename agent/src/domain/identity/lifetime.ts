// SPDX-License-Identifier: Apache-2.0
/** How long certificates last, and when they are renewed. */
export interface Validity {
  /** Unix time; whole seconds, as certificates have them. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const DAY_MS = 86_400_000;

export const LIFETIME = {
  rootMs: 3_652 * DAY_MS,
  nodeMs: 30 * DAY_MS,
  /** Of operators. */
  clientMs: 90 * DAY_MS,
  clientMinMs: 3_600_000,
  clientMaxMs: 365 * DAY_MS,
  /** Of services. */
  serviceMs: 365 * DAY_MS,
  serviceMinMs: DAY_MS,
  serviceMaxMs: 365 * DAY_MS,
  /** The longest that anything lives which the CA signs, itself aside. */
  leafMaxMs: 366 * DAY_MS,
  /** Certificates begin that much earlier: clocks of peers may be late. */
  backdateMs: 300_000,
  /** What a revocation list promises as its next update. A later one is still obeyed: see revocation.ts. */
  crlMs: 7 * DAY_MS,
  /** Over which nodes spread their renewals when another root begins to sign. */
  rotationMs: DAY_MS,
} as const;

/** Renewal is due between these parts of a lifetime: at half of it, and not everywhere at once. */
const RENEW_FROM = 0.45;
const RENEW_TO = 0.55;

export type ValidityState = 'valid' | 'not-yet-valid' | 'expired';

export function validityAt({ notBeforeMs, notAfterMs }: Validity, nowMs: number): ValidityState {
  if (nowMs < notBeforeMs) return 'not-yet-valid';
  return nowMs > notAfterMs ? 'expired' : 'valid';
}

/**
 * From now, back-dated, in whole seconds. It ends no later than its issuer (RFC 5280 does not ask for that, but what
 * outlives its issuer is not trusted anyway, and would be renewed too late).
 */
export function validityFrom(nowMs: number, lifetimeMs: number, issuerNotAfterMs = Number.POSITIVE_INFINITY): Validity {
  return {
    notBeforeMs: wholeSeconds(nowMs - LIFETIME.backdateMs),
    notAfterMs: wholeSeconds(Math.min(nowMs + lifetimeMs, issuerNotAfterMs)),
  };
}

/** When to renew. jitter: at least 0, less than 1; the same each time for one certificate, such as jitterOf(serial). */
export function renewalAtMs({ notBeforeMs, notAfterMs }: Validity, jitter: number): number {
  const part = RENEW_FROM + (RENEW_TO - RENEW_FROM) * jitter;
  return Math.round(notBeforeMs + (notAfterMs - notBeforeMs) * part);
}

/** Serials are random: their last 32 bits are a jitter that a node need not store. */
export function jitterOf(serial: string): number {
  return Number.parseInt(serial.slice(-8), 16) / 2 ** 32;
}

export function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000;
}
