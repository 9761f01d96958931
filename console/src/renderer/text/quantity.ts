// SPDX-License-Identifier: Apache-2.0
/** Numbers as people read them. */

/** Bytes per second as network people say it: 1_500_000 -> "12 Mbit/s" */
export function bitRate(bytesPerSecond: number): string {
  return `${scaled(bytesPerSecond * 8)}bit/s`;
}

/** 12_345 -> "12.3 k"; with a unit behind it: "12.3 kbit/s" */
function scaled(value: number): string {
  const prefixes = ['', 'k', 'M', 'G', 'T'];
  let rest = Math.max(0, value);
  let i = 0;
  while (rest >= 999.5 && i < prefixes.length - 1) {
    rest /= 1_000;
    i++;
  }
  return `${short(rest)} ${prefixes[i]}`;
}

/** 12_345 -> "12.3k", 7 -> "7", 0.25 -> "0.3" */
export function count(value: number | bigint): string {
  return scaled(Number(value)).replace(' ', '');
}

/** 1536 -> "1.5 KiB" */
export function bytes(value: number | bigint): string {
  const prefixes = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let rest = Number(value);
  let i = 0;
  while (rest >= 1024 && i < prefixes.length - 1) {
    rest /= 1024;
    i++;
  }
  return `${short(rest)} ${prefixes[i]}`;
}

function short(value: number): string {
  if (value === 0 || value >= 99.95) return value.toFixed(0);
  return value.toFixed(1).replace(/\.0$/, '');
}

/** 31 -> "31 µs", 2_570 -> "2.6 ms", 1_500_000 -> "1.5 s" */
export function microseconds(value: number | bigint): string {
  const us = Number(value);
  if (us < 999.5) return `${us.toFixed(0)} µs`;
  if (us < 999_500) return `${short(us / 1_000)} ms`;
  return us < 60e6 ? `${short(us / 1e6)} s` : span(us / 1_000);
}

/** 12_000 -> "12 s", 303_000 -> "5 min 3 s", 15_000_000 -> "4 h 10 min" */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

export function plural(value: number | bigint, one: string, many = `${one}s`): string {
  return `${value} ${Number(value) === 1 ? one : many}`;
}

/** A timestamp message in ms of Unix time. */
export function timeMs(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number | undefined {
  return time === undefined ? undefined : Number(time.seconds) * 1_000 + time.nanos / 1e6;
}

/** By the clock on the wall: "2026-11-22 03:11:19". */
export function clock(ms: number | undefined): string {
  if (ms === undefined) return '–';
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ');
}
