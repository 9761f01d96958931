// SPDX-License-Identifier: Apache-2.0
/** What stands around messages, in datagrams and streams alike: what the members of a mesh agree on, label, compression. */
import { COMPRESS } from './go-struct.js';
import type { Keyring } from './keyring.js';
import { compressLzw, decompressLzw } from './lzw.js';
import { MsgpackReader } from './msgpack-reader.js';
import { MsgpackWriter } from './msgpack-writer.js';
import { LABEL_BYTES_MAX, TYPE } from './protocol.js';
import { refuse } from './refusal.js';
import type { RandomBytes } from './sealing.js';

const LZW = 0;

/** The same at every member of a mesh, but while it is being changed. */
export interface WireSettings {
  /** Of the mesh: keeps meshes apart that reach each other, and is authenticated where there are keys. At most 255 bytes. */
  readonly label?: string | undefined;
  /** Takes only what comes without a label, as if it had this one: while a mesh is given its first label. */
  readonly skipLabelCheck?: boolean | undefined;
  /** Absent: all is sent in plain, and nothing sealed is understood. */
  readonly keyring?: Keyring | undefined;
  /** GossipVerifyIncoming: refuses what is not sealed. False only while a mesh is given its first keys. Default true. */
  readonly verifyIncoming?: boolean | undefined;
  /** GossipVerifyOutgoing: seals what is sent. False only while a mesh is given its first keys. Default true. */
  readonly verifyOutgoing?: boolean | undefined;
}

export interface SendSettings extends WireSettings {
  /** Compresses what becomes smaller by it. */
  readonly compress?: boolean | undefined;
  /** For the nonces of what is sealed. */
  readonly random: RandomBytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The keyring with which what is sent is sealed. */
export function sealingKeys(settings: WireSettings): Keyring | undefined {
  return settings.verifyOutgoing === false ? undefined : settings.keyring;
}

/** Throws RangeError when the label is too long. */
export function labelBytes(settings: WireSettings): Uint8Array {
  const bytes = Buffer.from(settings.label ?? '', 'utf8');
  if (bytes.length <= LABEL_BYTES_MAX) return bytes;
  throw new RangeError(`the label has ${bytes.length} bytes: at most ${LABEL_BYTES_MAX} are allowed`);
}

/** Empty without a label. */
export function labelHeader(label: Uint8Array): Uint8Array {
  return label.length === 0 ? label : Uint8Array.of(TYPE.label, label.length, ...label);
}

/**
 * Length of the label header that bytes begin with, 0 without one; undefined when it has not come whole. Throws Fault when
 * it is not that of these settings.
 */
export function checkLabel(bytes: Uint8Array, settings: WireSettings): number | undefined {
  const own = labelBytes(settings);
  const expected = settings.skipLabelCheck === true ? own.subarray(0, 0) : own;
  const [type, length] = bytes;
  if (type === undefined) return undefined;
  if (type !== TYPE.label) {
    if (expected.length === 0) return 0;
    return refuse('wrong-label', `no label: expected "${shown(expected)}"; the sender is of another mesh`);
  }
  if (length === undefined) return undefined;
  if (length === 0) return refuse('malformed-label', 'a label header with an empty label');
  const end = 2 + length;
  if (bytes.length < end) return undefined;
  const found = bytes.subarray(2, end);
  if (Buffer.compare(found, expected) !== 0) {
    const wanted = expected.length === 0 ? 'none' : `"${shown(expected)}"`;
    return refuse('wrong-label', `label "${shown(found)}": expected ${wanted}; the sender is of another mesh`);
  }
  return end;
}

/** Of an unknown sender, for a log. */
function shown(label: Uint8Array): string {
  return Buffer.from(label)
    .toString('utf8')
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 64);
}

/** A compress message, or what it was given when that is smaller. */
export function compressed(bytes: Uint8Array): Uint8Array {
  const packed = compressLzw(bytes);
  const writer = new MsgpackWriter(packed.length + 32);
  writer.byte(TYPE.compress);
  COMPRESS.write(writer, { Algo: LZW, Buf: packed });
  return writer.length < bytes.length ? writer.finish() : bytes;
}

/** bytes: a whole compress message. Throws Fault. */
export function decompressed(bytes: Uint8Array, bytesMax: number): Uint8Array {
  const { Algo, Buf } = COMPRESS.read(new MsgpackReader(bytes.subarray(1), 'a compressed message'));
  if (Algo !== LZW) return refuse('unknown-compression', `compressed by algorithm ${Algo}: expected ${LZW}, LZW`);
  const plain = decompressLzw(Buf, bytesMax);
  if (plain.length === 0) return refuse('empty', 'nothing inside a compressed message');
  return plain;
}
