// SPDX-License-Identifier: Apache-2.0
/**
 * An export of an audit log, a JSON object per line: first of what log it is and where it begins, then its records, then
 * the heads that were signed of it and of others. A record's line has what it says for people and programs, and its
 * canonical bytes, which alone are hashed.
 */
import { type AuditRecord, decodeRecord, type Head, type Link, RECORD_LIMITS } from '@marcher/audit';
import type { AuditLink, AuditOrigin, AuditSignedHead } from '@marcher/proto/marcher/v1/audit_service_pb';

export interface Origin {
  readonly node: string;
  readonly log: Uint8Array;
  readonly sequence: number;
  readonly hash: Uint8Array;
}

export interface SignedHead {
  readonly head: Head;
  readonly key: Uint8Array;
}

export type Line =
  | { readonly kind: 'origin'; readonly origin: Origin }
  /** said: what the line says besides the record's bytes is what they say. */
  | { readonly kind: 'record'; readonly link: Link; readonly said: boolean }
  | { readonly kind: 'head'; readonly signed: SignedHead }
  | { readonly kind: 'fault'; readonly reason: string };

const FORMAT = 1;
/** Of a line: a record's bytes twice, as text and in base64, with what escapes take. */
export const LINE_BYTES_MAX = 8 * RECORD_LIMITS.bytes;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (value: unknown, encoding: 'hex' | 'base64'): Uint8Array => {
  if (typeof value !== 'string') throw new Error('a text is missing');
  return Uint8Array.from(Buffer.from(value, encoding));
};
const countOf = (value: unknown): number => {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new Error('a number is missing');
  return value as number;
};

export function originLine({ node, log, sequence, hash }: AuditOrigin): string {
  return line({ marcherAudit: FORMAT, node, log: hex(log), after: Number(sequence), afterHash: hex(hash) });
}

export function recordLine({ sequence, body, hash }: AuditLink): string {
  const record = decodeRecord(body);
  const said = typeof record === 'string' ? { unreadable: record } : sayable(record);
  return line({ sequence: Number(sequence), ...said, hash: hex(hash), body: Buffer.from(body).toString('base64') });
}

export function headLine({ node, log, sequence, hash, timeMs, signature, key }: AuditSignedHead): string {
  const head = { node, log: hex(log), sequence: Number(sequence), hash: hex(hash), timeMs: Number(timeMs) };
  return line({ head: { ...head, signature: hex(signature), key: hex(key) } });
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

function sayable({ sequence: _, timeMs, version, ...rest }: AuditRecord): Record<string, unknown> {
  return { time: timeText(timeMs), ...rest, version: String(version) };
}

function timeText(ms: number): string {
  return ms <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}

/** Never throws: what is wrong with it is the line's fault. */
export function parseLine(text: string): Line {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    if ('marcherAudit' in value) return parseOrigin(value);
    if ('head' in value) return parseHead(value['head'] as Record<string, unknown>);
    return parseRecord(value);
  } catch {
    return { kind: 'fault', reason: 'it is not a line of an export' };
  }
}

function parseOrigin({ marcherAudit, node, log, after, afterHash }: Record<string, unknown>): Line {
  if (marcherAudit !== FORMAT)
    return { kind: 'fault', reason: `it is of format ${String(marcherAudit)}, not ${FORMAT}` };
  const origin = {
    node: String(node),
    log: bytesOf(log, 'hex'),
    sequence: countOf(after),
    hash: bytesOf(afterHash, 'hex'),
  };
  return { kind: 'origin', origin };
}

function parseRecord({ sequence, hash, body: encoded, ...said }: Record<string, unknown>): Line {
  const body = bytesOf(encoded, 'base64');
  const record = decodeRecord(body);
  const expected = typeof record === 'string' ? { unreadable: record } : sayable(record);
  const link = { sequence: countOf(sequence), body, hash: bytesOf(hash, 'hex') };
  return { kind: 'record', link, said: sorted(said) === sorted(expected) };
}

/** The same text for the same fields in whatever order. */
function sorted(fields: Record<string, unknown>): string {
  return JSON.stringify(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function parseHead({ node, log, sequence, hash, timeMs, signature, key }: Record<string, unknown>): Line {
  const head = {
    ...{ node: String(node), log: bytesOf(log, 'hex'), sequence: countOf(sequence), timeMs: countOf(timeMs) },
    ...{ hash: bytesOf(hash, 'hex'), signature: bytesOf(signature, 'hex') },
  };
  return { kind: 'head', signed: { head, key: bytesOf(key, 'hex') } };
}
