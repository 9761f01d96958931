// SPDX-License-Identifier: Apache-2.0
/**
 * The scalar values of the file form that are more than a number or a text: durations ("2s", "1m30s"), ports (80,
 * "5000-5010", or a list of those), percentages (50 or "50%"), bytes (a text, {hex: ...} or {base64: ...}), bandwidths
 * ("100Mbit"), amounts of bytes ("64KiB") and DSCPs ("EF" or 46).
 * Each parser answers with a value or with what is wrong; each printer writes what its parser reads back unchanged.
 */

export type Parsed<T> = { readonly value: T } | { readonly reason: string; readonly fix: string };

export const UINT32_MAX = 0xffff_ffff;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function parseDuration(value: unknown): Parsed<number> {
  const fix = 'write a number with a unit, such as "250ms", "2s", "1m30s" or "1h"';
  if (typeof value === 'number') return { reason: `${value} has no unit`, fix };
  if (typeof value !== 'string' || value.length > 64) return { reason: `${shown(value)} is not a duration`, fix };
  const match = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.exec(value);
  if (match === null) return { reason: `${shown(value)} is not a duration`, fix };
  let total = 0;
  for (const part of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(part[1]) * (UNIT_MS[part[2] ?? ''] ?? 0);
  }
  const rounded = Math.round(total);
  // 0.1s is 100.00000000000001 in binary floating point: that is not the operator's mistake.
  if (Math.abs(total - rounded) > 1e-6) return { reason: `${shown(value)} is not a whole number of milliseconds`, fix };
  if (rounded > UINT32_MAX) return { reason: `${shown(value)} is too long`, fix: 'write at most "1193h" (49 days)' };
  return { value: rounded };
}

export function printDuration(ms: number): string {
  if (ms === 0) return '0s';
  for (const unit of ['h', 'm', 's'] as const) {
    const size = UNIT_MS[unit] ?? 1;
    if (ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

export function parseWhole(value: unknown): Parsed<number> {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= UINT32_MAX) return { value };
  return { reason: `${shown(value)} is not a whole number`, fix: `write a number from 0 to ${UINT32_MAX}` };
}

const UINT64_MAX = 0xffff_ffff_ffff_ffffn;

/** Numbers beyond 2^53, which JavaScript's don't tell apart, are written as texts. */
export function parseWhole64(value: unknown): Parsed<bigint> {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return { value: BigInt(value) };
  if (typeof value === 'string' && /^\d{1,20}$/.test(value) && BigInt(value) <= UINT64_MAX) {
    return { value: BigInt(value) };
  }
  return { reason: `${shown(value)} is not a whole number`, fix: 'write a number such as 10000' };
}

export function printWhole64(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
}

interface Unit {
  readonly name: string;
  readonly size: bigint;
}

/** "1.5Gbit" as a whole number of the smallest unit, exactly; undefined: not a number and one of the units. */
function scaled(value: string, units: readonly Unit[]): bigint | 'fraction' | undefined {
  const match = /^(\d{1,20})(?:\.(\d{1,20}))?\s?([A-Za-z]+)$/.exec(value);
  if (match === null) return undefined;
  const [, whole = '', decimals = '', name = ''] = match;
  const unit = units.find((one) => one.name.toLowerCase() === name.toLowerCase());
  if (unit === undefined) return undefined;
  const total = BigInt(whole + decimals) * unit.size;
  const divisor = 10n ** BigInt(decimals.length);
  return total % divisor === 0n ? total / divisor : 'fraction';
}

/** In the largest unit that it is a whole number of. Units stand from the smallest to the largest. */
function inUnits(value: bigint, units: readonly Unit[]): string {
  const unit = units.findLast(({ size }) => value % size === 0n) ?? (units[0] as Unit);
  return value === 0n ? `0${units[0]?.name}` : `${value / unit.size}${unit.name}`;
}

const BANDWIDTH_UNITS: readonly Unit[] = [
  { name: 'bit', size: 1n },
  { name: 'kbit', size: 1_000n },
  { name: 'Mbit', size: 1_000_000n },
  { name: 'Gbit', size: 1_000_000_000n },
  { name: 'Tbit', size: 1_000_000_000_000n },
];

/** Bits per second. */
export function parseBandwidth(value: unknown): Parsed<bigint> {
  const fix = 'write bits per second with a unit, such as "800kbit", "100Mbit" or "1.5Gbit"';
  if (typeof value === 'number') return { reason: `${value} has no unit`, fix };
  const bits = typeof value === 'string' ? scaled(value, BANDWIDTH_UNITS) : undefined;
  if (bits === undefined) return { reason: `${shown(value)} is not a bandwidth`, fix };
  if (bits === 'fraction') return { reason: `${shown(value)} is not a whole number of bits per second`, fix };
  if (bits > UINT64_MAX) return { reason: `${shown(value)} is too much`, fix };
  return { value: bits };
}

export function printBandwidth(bitsPerSecond: bigint): string {
  return inUnits(bitsPerSecond, BANDWIDTH_UNITS);
}

const SIZE_UNITS: readonly Unit[] = [
  { name: 'B', size: 1n },
  { name: 'kB', size: 1_000n },
  { name: 'MB', size: 1_000_000n },
  { name: 'GB', size: 1_000_000_000n },
  { name: 'TB', size: 1_000_000_000_000n },
];
const BINARY_SIZE_UNITS: readonly Unit[] = [
  { name: 'B', size: 1n },
  { name: 'KiB', size: 1n << 10n },
  { name: 'MiB', size: 1n << 20n },
  { name: 'GiB', size: 1n << 30n },
  { name: 'TiB', size: 1n << 40n },
];

/** An amount of bytes; a plain number is that many. */
export function parseSize(value: unknown): Parsed<bigint> {
  const fix = 'write a number of bytes, such as 65536, "64KiB" or "1MB"';
  const plain = parseWhole64(value);
  if ('value' in plain) return plain;
  const amount =
    typeof value === 'string' ? (scaled(value, SIZE_UNITS) ?? scaled(value, BINARY_SIZE_UNITS)) : undefined;
  if (amount === undefined) return { reason: `${shown(value)} is not an amount of bytes`, fix };
  if (amount === 'fraction') return { reason: `${shown(value)} is not a whole number of bytes`, fix };
  if (amount > UINT64_MAX) return { reason: `${shown(value)} is too much`, fix };
  return { value: amount };
}

export function printSize(bytes: bigint): number | string {
  if (bytes % 1_000n !== 0n && bytes % 1_024n !== 0n) return printWhole64(bytes);
  const decimal = inUnits(bytes, SIZE_UNITS);
  const binary = inUnits(bytes, BINARY_SIZE_UNITS);
  return binary.length <= decimal.length && bytes % 1_024n === 0n ? binary : decimal;
}

/** RFC 2474, 2597, 3246, 5865 and 8622. */
const DSCP_NAMES: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`CS${i}`, i * 8])),
  ...Object.fromEntries([1, 2, 3, 4].flatMap((i) => [1, 2, 3].map((j) => [`AF${i}${j}`, i * 8 + j * 2]))),
  EF: 46,
  VA: 44,
  LE: 1,
};

export function parseDscp(value: unknown): Parsed<number> {
  const fix = 'write a name such as EF, AF41 or CS1, or a number from 0 to 63';
  const number = typeof value === 'string' ? DSCP_NAMES[value.toUpperCase()] : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= UINT32_MAX) {
    return { value: number };
  }
  return { reason: `${shown(value)} is not a DSCP`, fix };
}

export function printDscp(dscp: number): number | string {
  return Object.keys(DSCP_NAMES).find((name) => DSCP_NAMES[name] === dscp) ?? dscp;
}

export function parsePercent(value: unknown): Parsed<number> {
  const fix = 'write a whole number from 0 to 100, such as 50 or "50%"';
  const match = typeof value === 'string' ? /^(\d{1,3})%$/.exec(value) : null;
  const number = match === null ? value : Number(match[1]);
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= UINT32_MAX) {
    return { value: number };
  }
  return { reason: `${shown(value)} is not a percentage`, fix };
}

export function printPercent(percent: number): string | number {
  return percent <= 999 ? `${percent}%` : percent;
}

export interface Ports {
  readonly first: number;
  readonly last: number;
}

function parsePortItem(value: unknown): Parsed<Ports> {
  const fix = 'write a port such as 80, a range such as "5000-5010", or a list of those';
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= UINT32_MAX) {
    return { value: { first: value, last: value } };
  }
  const match = typeof value === 'string' ? /^(\d{1,9})(?:\s*-\s*(\d{1,9}))?$/.exec(value) : null;
  if (match === null) return { reason: `${shown(value)} is not a port`, fix };
  const first = Number(match[1]);
  return { value: { first, last: match[2] === undefined ? first : Number(match[2]) } };
}

export function parsePorts(value: unknown): Parsed<Ports[]> {
  const ports: Ports[] = [];
  for (const item of Array.isArray(value) ? value : [value]) {
    const parsed = parsePortItem(item);
    if ('reason' in parsed) return parsed;
    ports.push(parsed.value);
  }
  return { value: ports };
}

function printPortItem({ first, last }: Ports): number | string {
  return first === last ? first : `${first}-${last}`;
}

export function printPorts(ports: readonly Ports[]): number | string | (number | string)[] {
  const [only] = ports;
  return ports.length === 1 && only !== undefined ? printPortItem(only) : ports.map(printPortItem);
}

/** Of the language, not of Node.js: files are read and written in browsers, too. */
const utf8 = new TextEncoder();

export type BytesForm = string | { hex: string } | { base64: string };

export function parseBytes(value: unknown): Parsed<Uint8Array<ArrayBuffer>> {
  const fix = 'write a text, {hex: "0a1b"} or {base64: "Chs="}';
  if (typeof value === 'string') return { value: utf8.encode(value) };
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value);
    const text = (value as Record<string, unknown>)[keys[0] ?? ''];
    if (keys.length === 1 && typeof text === 'string') {
      if (keys[0] === 'hex' && /^(?:[0-9a-fA-F]{2})*$/.test(text))
        return { value: Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)) };
      const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
      if (keys[0] === 'base64' && base64.test(text))
        return { value: Uint8Array.from(atob(text), (one) => one.charCodeAt(0)) };
    }
  }
  return { reason: `${shown(value)} does not describe bytes`, fix };
}

/** A text where it is printable and survives the way back, otherwise hex. */
export function printBytes(bytes: Uint8Array): BytesForm {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const printable = !/[\u0000-\u001f\u007f-\u009f\ufeff\ufffd\u2028\u2029]/.test(text);
  const again = utf8.encode(text);
  const survives = printable && again.length === bytes.length && again.every((byte, at) => byte === bytes[at]);
  return survives ? text : { hex: Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('') };
}
