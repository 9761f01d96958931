// SPDX-License-Identifier: Apache-2.0
/** Where ":seek" goes to. */
import type { Player } from '../ports.js';

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };
const DAY_MS = 86_400_000;

/** "start", "end", "+30s", "-5m", "12:30", "12:30:15": Unix time in ms. Error: it is none of these, or not in the recording. */
export function seekTime(text: string, { startMs, endMs, positionMs }: Player): number {
  if (text === 'start') return startMs;
  if (text === 'end') return endMs;
  const [, sign, count, unit = 's'] = /^([+-])(\d{1,6})([smh])?$/.exec(text) ?? [];
  // Beyond its ends it stops there.
  if (count !== undefined) return positionMs + (sign === '-' ? -1 : 1) * Number(count) * (UNITS[unit] ?? 0);
  const [, hours, minutes, seconds = '0'] = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(text) ?? [];
  if (hours === undefined) throw new Error(`"${text}" is no time: expected 12:30:00, +30s, -5m, start or end`);
  const at = new Date(startMs);
  at.setHours(Number(hours), Number(minutes), Number(seconds), 0);
  // Of the day that it began on, or of one after that.
  for (let ms = at.getTime(); ms <= endMs + 1_000; ms += DAY_MS) if (ms >= startMs - 1_000) return ms;
  throw new Error(`${text} is not in this recording`);
}
