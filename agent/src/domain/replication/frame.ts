// SPDX-License-Identifier: Apache-2.0
/**
 * Frames as bytes: protobuf's wire format, fields in order, so that any reader of protobuf can show one
 * (marcher/mesh/v1/replication.proto: Frame, FrameBody). The hash is over the body, and the signature over the hash: a
 * signature that was made twice makes no second frame.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { pack, type Timestamp, unpack } from '@marcher/hlc';
import { WireWriter } from '../wire-writer.js';
import type { CellWrite, ClusterName, Frame, Hash, Key, Origin } from './contract.js';
import { cellKey } from './object.js';
import { INCARNATION_MAX, originKey, parseOrigin } from './origin.js';

export interface FrameLimits {
  /** Of an encoded frame. */
  readonly bytes: number;
  readonly writes: number;
}

export const FRAME_LIMITS: FrameLimits = { bytes: 16 * 1024 * 1024, writes: 200_000 };

/** UTF-16 code units. */
const TEXT_MAX = { kind: 64, id: 512, group: 128, author: 512, message: 8192, cluster: 63 } as const;
const HASH_BYTES = 32;
const ORIGIN_BYTES = 14;
const SIGNATURE_BYTES_MAX = 1024;

export interface FrameFault {
  readonly fault: string;
}

export interface NewFrame {
  readonly origin: Origin;
  readonly sequence: number;
  /** Absent, as '': the mesh's. */
  readonly cluster?: ClusterName;
  readonly stamp: Timestamp;
  readonly previous: Uint8Array;
  readonly author: string;
  readonly message: string;
  readonly writes: readonly CellWrite[];
}

export function packOrigin({ node, incarnation }: Origin): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ORIGIN_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, node);
  view.setUint16(8, Math.floor(incarnation / 0x1_0000_0000));
  view.setUint32(10, incarnation % 0x1_0000_0000);
  return bytes;
}

/** undefined: not an origin's bytes. */
export function unpackOrigin(bytes: Uint8Array): Origin | undefined {
  if (bytes.length !== ORIGIN_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, ORIGIN_BYTES);
  return { node: view.getBigUint64(0), incarnation: view.getUint16(8) * 0x1_0000_0000 + view.getUint32(10) };
}

/** What is wrong with a key, wherever it comes from; undefined: nothing. */
export function faultOfKey({ kind, id, group }: Key): string | undefined {
  if (kind === '' || kind.length > TEXT_MAX.kind)
    return `a kind of ${kind.length} characters, not 1 to ${TEXT_MAX.kind}`;
  if (id === '' || id.length > TEXT_MAX.id) return `an id of ${id.length} characters, not 1 to ${TEXT_MAX.id}`;
  if (group.length > TEXT_MAX.group) return `a group of ${group.length} characters, more than ${TEXT_MAX.group}`;
  if (!kind.isWellFormed() || !id.isWellFormed() || !group.isWellFormed()) return 'a key that is not Unicode text';
  return undefined;
}

/** What is wrong with writes, wherever they come from; undefined: nothing. */
export function faultOfWrites(writes: readonly CellWrite[], limits: FrameLimits): string | undefined {
  if (writes.length === 0) return 'writes nothing';
  if (writes.length > limits.writes)
    return `writes ${writes.length} cells, more than ${limits.writes}: split the change`;
  const keys = new Set<string>();
  for (const write of writes) {
    const fault = faultOfKey(write);
    if (fault !== undefined) return fault;
    const key = cellKey(write);
    if (keys.has(key)) return `${write.kind} "${write.id}" group "${write.group}" is written twice`;
    keys.add(key);
  }
  return undefined;
}

export function encodeFrame(
  frame: NewFrame,
  hash: Hash,
  sign: (hash: Uint8Array) => Uint8Array,
  limits: FrameLimits = FRAME_LIMITS,
): Frame | FrameFault {
  const fault = faultOfWrites(frame.writes, limits);
  if (fault !== undefined) return { fault };
  if (frame.author.length > TEXT_MAX.author) return { fault: `an author of more than ${TEXT_MAX.author} characters` };
  if (frame.message.length > TEXT_MAX.message)
    return { fault: `a message of more than ${TEXT_MAX.message} characters` };
  const body = new WireWriter(512);
  body.bytes(1, packOrigin(frame.origin));
  body.uint(2, frame.sequence);
  body.bytes(3, pack(frame.stamp));
  body.bytes(4, frame.previous);
  body.text(5, frame.author);
  body.text(6, frame.message);
  for (const { kind, id, group, value } of frame.writes) {
    const mark = body.begin(7);
    body.text(1, kind);
    body.text(2, id);
    body.text(3, group);
    if (value === undefined) body.bool(4, true);
    else body.bytes(5, value);
    body.end(mark);
    if (body.length > limits.bytes) break;
  }
  if (frame.cluster !== undefined && frame.cluster !== '') body.text(8, frame.cluster);
  const written = body.written();
  const digest = hash(written);
  const signature = sign(digest);
  const envelope = new WireWriter(written.length + signature.length + 32);
  envelope.bytes(1, written);
  envelope.bytes(2, signature);
  if (envelope.length > limits.bytes) {
    return { fault: `a frame of more than ${limits.bytes} bytes: split the change` };
  }
  return decodeFrame(envelope.written(), hash, limits);
}

/** Never throws: what is wrong with bytes from outside is said in the fault. */
export function decodeFrame(bytes: Uint8Array, hash: Hash, limits: FrameLimits = FRAME_LIMITS): Frame | FrameFault {
  if (bytes.length > limits.bytes) return { fault: `a frame of ${bytes.length} bytes, more than ${limits.bytes}` };
  try {
    return decode(bytes, hash, limits);
  } catch (error) {
    return { fault: `not a frame: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function decode(bytes: Uint8Array, hash: Hash, limits: FrameLimits): Frame | FrameFault {
  let body: Uint8Array | undefined;
  let signature: Uint8Array = new Uint8Array(0);
  const envelope = new BinaryReader(bytes);
  while (envelope.pos < envelope.len) {
    const [field, wire] = envelope.tag();
    if (field <= 2) expectWire(field, wire, WireType.LengthDelimited);
    if (field === 1) body = envelope.bytes();
    else if (field === 2) signature = envelope.bytes();
    else envelope.skip(wire, field);
  }
  if (body === undefined) return { fault: 'a frame without a body' };
  if (signature.length > SIGNATURE_BYTES_MAX) return { fault: `a signature of ${signature.length} bytes` };

  let origin: Origin | undefined;
  let sequence = 0;
  let stamp: Timestamp | undefined;
  let previous: Uint8Array = new Uint8Array(0);
  let author = '';
  let message = '';
  let cluster = '';
  const writes: CellWrite[] = [];
  const reader = new BinaryReader(body);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field <= 8) expectWire(field, wire, field === 2 ? WireType.Varint : WireType.LengthDelimited);
    switch (field) {
      case 1:
        origin = unpackOrigin(reader.bytes());
        break;
      case 2:
        sequence = Number(reader.uint64());
        break;
      case 3:
        stamp = unpack(reader.bytes());
        break;
      case 4:
        previous = reader.bytes();
        break;
      case 5:
        author = reader.string();
        break;
      case 6:
        message = reader.string();
        break;
      case 7:
        if (writes.length === limits.writes) return { fault: `more than ${limits.writes} cells` };
        writes.push(decodeWrite(reader, reader.uint32()));
        break;
      case 8:
        cluster = reader.string();
        break;
      default:
        reader.skip(wire, field);
    }
  }
  if (origin === undefined || origin.incarnation > INCARNATION_MAX) return { fault: 'a frame without an origin' };
  if (stamp === undefined || stamp.node !== origin.node) return { fault: 'a frame whose stamp is not of its origin' };
  if (!Number.isSafeInteger(sequence) || sequence < 1) return { fault: `a frame with the number ${sequence}` };
  if (previous.length !== (sequence === 1 ? 0 : HASH_BYTES)) {
    return { fault: `frame ${sequence} with a hash of ${previous.length} bytes of the frame before` };
  }
  if (author.length > TEXT_MAX.author || message.length > TEXT_MAX.message) {
    return { fault: 'an author or a message that is too long' };
  }
  if (cluster.length > TEXT_MAX.cluster) return { fault: `a cluster's name of ${cluster.length} characters` };
  const fault = faultOfWrites(writes, limits);
  if (fault !== undefined) return { fault };
  return {
    origin: originKey(origin),
    node: origin.node,
    sequence,
    cluster,
    stamp,
    previous,
    author,
    message,
    writes,
    hash: hash(body),
    signature,
    bytes,
  };
}

function expectWire(field: number, wire: WireType, expected: WireType): void {
  if (wire !== expected) throw new RangeError(`field ${field} with wire type ${wire}, not ${expected}`);
}

function decodeWrite(reader: BinaryReader, length: number): CellWrite {
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError('a cell that is cut off');
  let kind = '';
  let id = '';
  let group = '';
  let deleted = false;
  let value: Uint8Array = new Uint8Array(0);
  while (reader.pos < end) {
    const [field, wire] = reader.tag();
    if (field <= 5) expectWire(field, wire, field === 4 ? WireType.Varint : WireType.LengthDelimited);
    if (field === 1) kind = reader.string();
    else if (field === 2) id = reader.string();
    else if (field === 3) group = reader.string();
    else if (field === 4) deleted = reader.bool();
    else if (field === 5) value = reader.bytes();
    else reader.skip(wire, field);
  }
  if (reader.pos !== end) throw new RangeError('a cell that is longer than it says');
  return { kind, id, group, value: deleted ? undefined : value };
}

/** For a message about a frame. */
export function nameOfFrame({ origin, sequence }: Pick<Frame, 'origin' | 'sequence'>): string {
  const { node, incarnation } = parseOrigin(origin);
  return `frame ${sequence} of node ${node.toString(16)} (incarnation ${incarnation})`;
}
