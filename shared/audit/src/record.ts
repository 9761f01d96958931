// SPDX-License-Identifier: Apache-2.0
/**
 * A record and its canonical bytes: of each record there is one encoding, and of each encoding one record, so that a hash
 * of the bytes is one of what they say. Everything is big-endian; a text is its length in bytes (32 bits), then UTF-8:
 *
 *   format (8 bits, 1) | sequence (64) | time in Unix ms (64) | outcome (8) | version (64) | more objects (32) |
 *   repeated (32) | number of objects (16) | action | actor | via | source | message | each object
 *
 * A field more is another format.
 */

/** SHA-256: 32 bytes. */
export type Hash = (bytes: Uint8Array) => Uint8Array;

/** done: it was written; denied: whoever asked may not; failed: it was written and taken back. */
export type Outcome = 'done' | 'denied' | 'failed';
export const OUTCOMES: readonly Outcome[] = ['done', 'denied', 'failed'];

export interface AuditEntry {
  readonly timeMs: number;
  /** "marcher.v1.ConfigService/Apply"; what no call has asked for is "marcherd/…". */
  readonly action: string;
  /** Who, as the history names them: "root (uid 0)". */
  readonly actor: string;
  /** How it was established who that is: "socket", "session", "file". */
  readonly via: string;
  /** IP address; empty: this machine. */
  readonly source: string;
  readonly outcome: Outcome;
  /** What was touched, "Service/web", and how many more there were. */
  readonly objects: readonly string[];
  readonly moreObjects: number;
  /** Of the configuration, that the change made; 0n: none. */
  readonly version: bigint;
  readonly message: string;
  /** How many more such attempts this stands for. */
  readonly repeated: number;
}

export interface AuditRecord extends AuditEntry {
  /** From 1, without gaps. */
  readonly sequence: number;
}

/** Characters, where it is not said otherwise. */
export const RECORD_LIMITS = {
  action: 120,
  actor: 200,
  via: 32,
  source: 64,
  objects: 50,
  object: 300,
  message: 1_024,
  /** Of the encoding: what texts take at most, in UTF-8. */
  bytes: 64 * 1024,
} as const;

const FORMAT = 1;
const FIXED_BYTES = 1 + 8 + 8 + 1 + 8 + 4 + 4 + 2;
const COUNT_MAX = 0xffff_ffff;
const ENCODER = new TextEncoder();
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The same with everything within its limits. */
export function clipped(entry: AuditEntry): AuditEntry {
  const { objects } = entry;
  const kept = objects.slice(0, RECORD_LIMITS.objects);
  return {
    ...entry,
    action: clip(entry.action, RECORD_LIMITS.action),
    actor: clip(entry.actor, RECORD_LIMITS.actor),
    via: clip(entry.via, RECORD_LIMITS.via),
    source: clip(entry.source, RECORD_LIMITS.source),
    message: clip(entry.message, RECORD_LIMITS.message),
    objects: kept.map((object) => clip(object, RECORD_LIMITS.object)),
    moreObjects: Math.min(entry.moreObjects + objects.length - kept.length, COUNT_MAX),
    repeated: Math.min(entry.repeated, COUNT_MAX),
  };
}

function clip(text: string, max: number): string {
  return (text.length <= max ? text : `${text.slice(0, max - 1)}…`).toWellFormed();
}

/** Of a record within the limits. */
export function encodeRecord(record: AuditRecord): Uint8Array {
  const { action, actor, via, source, message, objects } = record;
  const texts = [action, actor, via, source, message, ...objects].map((text) => ENCODER.encode(text));
  const bytes = new Uint8Array(texts.reduce((sum, { length }) => sum + 4 + length, FIXED_BYTES));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, FORMAT);
  view.setBigUint64(1, BigInt(record.sequence));
  view.setBigUint64(9, BigInt(Math.max(0, Math.floor(record.timeMs))));
  view.setUint8(17, OUTCOMES.indexOf(record.outcome) + 1);
  view.setBigUint64(18, record.version);
  view.setUint32(26, record.moreObjects);
  view.setUint32(30, record.repeated);
  view.setUint16(34, objects.length);
  let at = FIXED_BYTES;
  for (const text of texts) {
    view.setUint32(at, text.length);
    bytes.set(text, at + 4);
    at += 4 + text.length;
  }
  return bytes;
}

/** The reason, as text, where these are not the bytes of a record. Never throws. */
export function decodeRecord(bytes: Uint8Array): AuditRecord | string {
  if (bytes.length > RECORD_LIMITS.bytes) return `it has ${bytes.length} bytes, more than ${RECORD_LIMITS.bytes}`;
  if (bytes.length > 0 && bytes[0] !== FORMAT) return `it is of format ${bytes[0]}, which this version does not know`;
  try {
    return decode(bytes);
  } catch {
    return 'it is cut off, or not text where text is expected';
  }
}

function decode(bytes: Uint8Array): AuditRecord | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sequence = Number(view.getBigUint64(1));
  const timeMs = Number(view.getBigUint64(9));
  const outcome = OUTCOMES[view.getUint8(17) - 1];
  if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(timeMs) || outcome === undefined) {
    return 'a number in it is not one that a record has';
  }
  const count = view.getUint16(34);
  if (count > RECORD_LIMITS.objects) return `it names ${count} objects`;
  const texts: string[] = [];
  let at = FIXED_BYTES;
  for (let i = 0; i < 5 + count; i++) {
    const length = view.getUint32(at);
    at += 4;
    if (at + length > bytes.length) return 'it is cut off';
    texts.push(DECODER.decode(bytes.subarray(at, at + length)));
    at += length;
  }
  if (at !== bytes.length) return 'there is more in it than a record';
  const [action = '', actor = '', via = '', source = '', message = '', ...objects] = texts;
  return {
    ...{ sequence, timeMs, action, actor, via, source, outcome, objects, message },
    ...{ version: view.getBigUint64(18), moreObjects: view.getUint32(26), repeated: view.getUint32(30) },
  };
}
