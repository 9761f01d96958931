// SPDX-License-Identifier: Apache-2.0
/** Numbers as people read them. */
const prefixes = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

/** 1536 -> "1.5KiB" */
export function bytes(count: number | bigint): string {
  let value = Number(count);
  let i = 0;
  while (value >= 1024 && i < prefixes.length - 1) {
    value /= 1024;
    i++;
  }
  return i === 0 ? `${value}B` : `${value.toFixed(value < 10 ? 1 : 0)}${prefixes[i]}B`;
}

/** 12345.6 -> "12.3k", 12 -> "12.0": as many places whatever it happens to be, so that figures that change stand still */
export function rate(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  return value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1);
}

/** 12 -> "12", 12345 -> "12.3k": what may be a total, or by the second. */
export function count(value: number): string {
  return Number.isInteger(value) && value < 1e4 ? String(value) : rate(value);
}

/** Microseconds -> "820µs", "12.3ms", "4.5s" */
export function microseconds(us: number): string {
  if (us < 1000) return `${Math.round(us)}µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 2 : 1)}ms`;
  return `${(us / 1e6).toFixed(2)}s`;
}

/** Milliseconds -> "12s", "5m3s", "4h12m", "9d4h" */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d${Math.floor((seconds % 86_400) / 3600)}h`;
}

export function plural(count: number | bigint, one: string, many = `${one}s`): string {
  return `${count} ${Number(count) === 1 ? one : many}`;
}

/** A timestamp message in milliseconds since 1970. */
export function timeMs(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1000 + time.nanos / 1e6;
}

/** Local time: "2026-11-21 03:11:19", or with milliseconds. */
export function clock(ms: number | undefined, precision: 'seconds' | 'milliseconds' = 'seconds'): string {
  if (ms === undefined) return '-';
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString();
  return precision === 'seconds' ? local.slice(0, 19).replace('T', ' ') : local.slice(0, 23).replace('T', ' ');
}
