// SPDX-License-Identifier: Apache-2.0
/**
 * Messages as bytes (marcher/mesh/v1/replication.proto). What comes from outside is checked here, so that nobody behind
 * meets a number that is none or a key that is no text; unknown fields are passed over, unknown messages are no
 * message.
 */
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { pack, type Timestamp, unpack } from '@marcher/hlc';
import {
  type CellSchema,
  type FloorSchema,
  type HeadSchema,
  type ReplicaMessage,
  ReplicaMessageSchema,
  StaleReason,
} from '@marcher/proto/marcher/mesh/v1/replication_pb';
import type {
  Addressed,
  Cell,
  Fork,
  Head,
  Horizon,
  Key,
  Message,
  NodeId,
  OriginKey,
  Range,
  VectorState,
} from './contract.js';
import { BUCKETS } from './digest.js';
import { elementsOf } from './element-count.js';
import { faultOfKey, packOrigin, unpackOrigin } from './frame.js';
import { FORKS_MAX } from './ledger.js';
import { INCARNATION_MAX, originKey, parseOrigin } from './origin.js';

type Dots = readonly { readonly origin: OriginKey; readonly sequence: number }[];
type WireDot = { readonly origin: Uint8Array; readonly sequence: bigint };
type WireCell = NonNullable<Extract<ReplicaMessage['message'], { case: 'snapshot' }>['value']['cells']>[number];
type WireVector = Extract<ReplicaMessage['message'], { case: 'summary' }>['value']['vector'];
type WireHorizon = Extract<ReplicaMessage['message'], { case: 'repair' }>['value']['horizon'];
type Init = NonNullable<MessageInitShape<typeof ReplicaMessageSchema>['message']>;

/** A summary tells heads apart by so much of their hashes. */
const SUMMARY_HASH_BYTES = 8;
const HASH_BYTES_MAX = 32;
const MARK_MAX = 2 ** 48 - 1;
/** A vector, a horizon and as many cells as go with them in one answer (context.ts: originsMax, answerBytes). */
const ELEMENTS_MAX = 1_000_000;
/** What a vector has at most. */
const ORIGINS_MAX = 65_536;
/** In one message: an answer is about 1 MiB, and a frame more than 100 bytes. */
const FRAMES_MAX = 16_384;

/** Of a cluster's name, as of every object's. */
const CLUSTER_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export function encodeMessage(message: Addressed): Uint8Array<ArrayBuffer> {
  const encoded = encode(toWire(message));
  const { cluster = '', assigned } = message;
  if (cluster === '') return encoded;
  return encode({
    case: 'scoped',
    value: { cluster, message: encoded, ...(assigned && { assigned: pack(assigned) }) },
  });
}

function encode(message: Init): Uint8Array<ArrayBuffer> {
  return toBinary(ReplicaMessageSchema, create(ReplicaMessageSchema, { message }));
}

/** Never throws: `fault` says what is wrong with bytes from outside. They are bounded by who has read them. */
export function decodeMessage(bytes: Uint8Array): Addressed | { readonly fault: string } {
  try {
    const message = decode(bytes);
    if ('fault' in message) return message;
    if (message.case !== 'scoped') return fromWire(message);
    const { cluster, assigned } = message.value;
    if (!CLUSTER_NAME.test(cluster)) return { fault: 'not a message: of no cluster that can be' };
    const inner = decode(message.value.message);
    if ('fault' in inner) return inner;
    const read = fromWire(inner);
    return 'fault' in read ? read : { ...read, cluster, ...(assigned.length > 0 && { assigned: stampOf(assigned) }) };
  } catch (error) {
    return { fault: `not a message: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function decode(bytes: Uint8Array): ReplicaMessage['message'] | { readonly fault: string } {
  if (elementsOf(ReplicaMessageSchema, bytes, ELEMENTS_MAX) > ELEMENTS_MAX) {
    return { fault: `not a message: more than ${ELEMENTS_MAX} fields in ${bytes.length} bytes` };
  }
  return fromBinary(ReplicaMessageSchema, bytes).message;
}

// Encoding.

function wireOrigin(origin: OriginKey): Uint8Array<ArrayBuffer> {
  return packOrigin(parseOrigin(origin));
}

function wireDots(
  dots: Dots | ReadonlyMap<OriginKey, number>,
): { origin: Uint8Array<ArrayBuffer>; sequence: bigint }[] {
  const list = dots instanceof Map ? Array.from(dots, ([origin, sequence]) => ({ origin, sequence })) : (dots as Dots);
  return list.map(({ origin, sequence }) => ({ origin: wireOrigin(origin), sequence: BigInt(sequence) }));
}

function wireRanges(ranges: readonly Range[]): { origin: Uint8Array<ArrayBuffer>; from: bigint; through: bigint }[] {
  return ranges.map(({ origin, from, through }) => {
    return { origin: wireOrigin(origin), from: BigInt(from), through: BigInt(through) };
  });
}

function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

function wireVector(
  { heads, floors }: VectorState,
  hashBytes: number,
): { heads: MessageInitShape<typeof HeadSchema>[]; floors: MessageInitShape<typeof FloorSchema>[] } {
  return {
    heads: Array.from(heads, ([origin, { sequence, hash }]) => {
      return { origin: wireOrigin(origin), sequence: BigInt(sequence), hash: own(hash.subarray(0, hashBytes)) };
    }),
    floors: Array.from(floors, ([node, incarnation]) => ({ node, incarnation: BigInt(incarnation) })),
  };
}

function wireCell({
  kind,
  id,
  group,
  value,
  stamp,
  origin,
  sequence,
  mark,
}: Cell): MessageInitShape<typeof CellSchema> {
  return {
    write: { kind, id, group, ...(value === undefined ? { deleted: true } : { value: own(value) }) },
    stamp: pack(stamp),
    origin: wireOrigin(origin),
    sequence: BigInt(sequence),
    mark: BigInt(mark),
  };
}

function wireHorizon({ stamp, seen }: Horizon): { stamp: Uint8Array<ArrayBuffer>; seen: ReturnType<typeof wireDots> } {
  return { stamp: pack(stamp), seen: wireDots(seen) };
}

function toWire(message: Message): Init {
  switch (message.type) {
    case 'summary': {
      const { answer, admitted, wallMs, life, echo } = message;
      const vector = wireVector(message, SUMMARY_HASH_BYTES);
      const [digest, cells] = [BigInt(message.digest), BigInt(message.cells)];
      const dots = { seen: wireDots(message.seen), forks: wireDots(message.forks) };
      const rest = echo === undefined ? {} : { echo };
      return { case: 'summary', value: { answer, admitted, vector, ...dots, digest, cells, wallMs, life, ...rest } };
    }
    case 'push':
      return { case: 'push', value: { frame: own(message.frame) } };
    case 'have':
      return { case: 'have', value: { heads: wireDots(message.heads) } };
    case 'graft':
      return { case: 'graft', value: { ranges: wireRanges(message.ranges) } };
    case 'prune':
      return { case: 'prune', value: { origin: wireOrigin(message.origin) } };
    case 'request':
      return { case: 'request', value: { id: message.id, ranges: wireRanges(message.ranges) } };
    case 'frames': {
      const { id, frames, compacted } = message;
      return { case: 'frames', value: { id, frames: frames.map(own), compacted: compacted.map(wireOrigin) } };
    }
    case 'snapshot-request':
      return { case: 'snapshotRequest', value: { id: message.id, part: message.part } };
    case 'snapshot': {
      const { id, part, end } = message;
      const cells = message.cells.map(wireCell);
      if (end === undefined) return { case: 'snapshot', value: { id, part, cells } };
      const forks = end.forks.map(({ origin, sequence, kept, other }) => {
        return { origin: wireOrigin(origin), sequence: BigInt(sequence), kept: own(kept), other: own(other) };
      });
      const horizon = wireHorizon(end.horizon);
      const last = { vector: wireVector(end, HASH_BYTES_MAX), clock: pack(end.clock), horizon, forks };
      return { case: 'snapshot', value: { id, part, cells, end: last } };
    }
    case 'busy':
      return { case: 'busy', value: { id: message.id } };
    case 'digests':
      return { case: 'digests', value: { buckets: message.buckets.map(BigInt) } };
    case 'repair': {
      const { answer, bucket, after, through, cells } = message;
      const keys = { ...(after && { after: keyOf(after) }), ...(through && { through: keyOf(through) }) };
      const vector = wireVector(message.vector, HASH_BYTES_MAX);
      const rest = { vector, horizon: wireHorizon(message.horizon), forks: wireDots(message.forks) };
      return { case: 'repair', value: { answer, bucket, ...keys, cells: cells.map(wireCell), ...rest } };
    }
    case 'stale': {
      const reason = message.reason === 'removed' ? StaleReason.REMOVED : StaleReason.BEHIND_HORIZON;
      return { case: 'stale', value: { reason, seen: wireDots(message.seen) } };
    }
  }
}

// Decoding.

function fail(what: string): never {
  throw new RangeError(what);
}

function originOf(bytes: Uint8Array): OriginKey {
  const origin = unpackOrigin(bytes);
  return origin === undefined ? fail(`an origin of ${bytes.length} bytes`) : originKey(origin);
}

/** least: 0 or 1. */
function numberOf(value: bigint, least: number, most: number = Number.MAX_SAFE_INTEGER): number {
  if (value < BigInt(least) || value > BigInt(most)) fail(`${value}, not ${least} to ${most}`);
  return Number(value);
}

function hashOf(bytes: Uint8Array): Uint8Array {
  return bytes.length <= HASH_BYTES_MAX ? bytes : fail(`a hash of ${bytes.length} bytes`);
}

function atMost<T>(list: readonly T[], most: number, what: string): readonly T[] {
  return list.length <= most ? list : fail(`${list.length} ${what}, more than ${most}`);
}

function dotsOf(dots: readonly WireDot[], most: number = ORIGINS_MAX): { origin: OriginKey; sequence: number }[] {
  return atMost(dots, most, 'origins').map(({ origin, sequence }) => ({
    origin: originOf(origin),
    sequence: numberOf(sequence, 1),
  }));
}

function seenOf(dots: readonly WireDot[]): Map<OriginKey, number> {
  return new Map(dotsOf(dots).map(({ origin, sequence }) => [origin, sequence]));
}

function rangesOf(ranges: readonly { origin: Uint8Array; from: bigint; through: bigint }[]): Range[] {
  return atMost(ranges, ORIGINS_MAX, 'ranges').map(({ origin, from, through }) => {
    return { origin: originOf(origin), from: numberOf(from, 1), through: numberOf(through, 1) };
  });
}

function vectorOf(vector: WireVector): VectorState {
  const heads = new Map<OriginKey, Head>();
  const floors = new Map<NodeId, number>();
  for (const { origin, sequence, hash } of atMost(vector?.heads ?? [], ORIGINS_MAX, 'heads')) {
    heads.set(originOf(origin), { sequence: numberOf(sequence, 1), hash: hashOf(hash) });
  }
  for (const { node, incarnation } of atMost(vector?.floors ?? [], ORIGINS_MAX, 'floors')) {
    floors.set(node, numberOf(incarnation, 0, INCARNATION_MAX));
  }
  return { heads, floors };
}

function keyOf({ kind, id, group }: Key): Key {
  const fault = faultOfKey({ kind, id, group });
  return fault === undefined ? { kind, id, group } : fail(fault);
}

function stampOf(bytes: Uint8Array): Timestamp {
  return unpack(bytes);
}

function cellOf({ write, stamp, origin, sequence, mark }: WireCell): Cell {
  if (write === undefined) return fail('a cell without a key');
  const [time, author] = [stampOf(stamp), originOf(origin)];
  if (parseOrigin(author).node !== time.node) fail('a cell whose stamp is not of its origin');
  return {
    ...keyOf(write),
    stamp: time,
    value: write.deleted ? undefined : write.value,
    origin: author,
    sequence: numberOf(sequence, 1),
    mark: numberOf(mark, 0, MARK_MAX),
  };
}

function horizonOf(horizon: WireHorizon): Horizon {
  if (horizon === undefined) return fail('no horizon');
  return { stamp: stampOf(horizon.stamp), seen: seenOf(horizon.seen) };
}

function fromWire(message: ReplicaMessage['message']): Message | { readonly fault: string } {
  switch (message.case) {
    case 'summary': {
      const { answer, admitted, vector, seen, forks, digest, cells, wallMs, life, echo } = message.value;
      if (!Number.isFinite(wallMs) || (echo !== undefined && !Number.isFinite(echo.wallMs)))
        fail('a time that is no number');
      return {
        ...{
          type: 'summary',
          answer,
          admitted,
          ...vectorOf(vector),
          seen: seenOf(seen),
          forks: dotsOf(forks, FORKS_MAX),
        },
        ...{ digest: numberOf(digest, 0, MARK_MAX), cells: numberOf(cells, 0), wallMs, life },
        echo: echo === undefined ? undefined : { life: echo.life, wallMs: echo.wallMs },
      };
    }
    case 'push':
      return { type: 'push', frame: message.value.frame };
    case 'have':
      return { type: 'have', heads: dotsOf(message.value.heads) };
    case 'graft':
      return { type: 'graft', ranges: rangesOf(message.value.ranges) };
    case 'prune':
      return { type: 'prune', origin: originOf(message.value.origin) };
    case 'request':
      return { type: 'request', id: message.value.id, ranges: rangesOf(message.value.ranges) };
    case 'frames': {
      const { id, frames, compacted } = message.value;
      return {
        ...{ type: 'frames', id, frames: atMost(frames, FRAMES_MAX, 'frames') },
        compacted: atMost(compacted, ORIGINS_MAX, 'origins').map(originOf),
      };
    }
    case 'snapshotRequest':
      return { type: 'snapshot-request', id: message.value.id, part: message.value.part };
    case 'snapshot': {
      const { id, part, end } = message.value;
      const cells = message.value.cells.map(cellOf);
      if (end === undefined) return { type: 'snapshot', id, part, cells, end: undefined };
      const forks: Fork[] = atMost(end.forks, FORKS_MAX, 'forks').map(({ origin, sequence, kept, other }) => {
        return { origin: originOf(origin), sequence: numberOf(sequence, 1), kept: hashOf(kept), other: hashOf(other) };
      });
      const clock = stampOf(end.clock);
      return {
        type: 'snapshot',
        id,
        part,
        cells,
        end: { ...vectorOf(end.vector), clock, horizon: horizonOf(end.horizon), forks },
      };
    }
    case 'busy':
      return { type: 'busy', id: message.value.id };
    case 'digests': {
      const { buckets } = message.value;
      if (buckets.length !== BUCKETS) fail(`${buckets.length} digests, not ${BUCKETS}`);
      return { type: 'digests', buckets: buckets.map((digest) => numberOf(digest, 0, MARK_MAX)) };
    }
    case 'repair': {
      const { answer, bucket, after, through, cells, vector, horizon, forks } = message.value;
      if (bucket >= BUCKETS) fail(`bucket ${bucket}, not 0 to ${BUCKETS - 1}`);
      return {
        ...{ type: 'repair', answer, bucket, after: after && keyOf(after), through: through && keyOf(through) },
        ...{
          cells: cells.map(cellOf),
          vector: vectorOf(vector),
          horizon: horizonOf(horizon),
          forks: dotsOf(forks, FORKS_MAX),
        },
      };
    }
    case 'stale': {
      const reason = message.value.reason === StaleReason.REMOVED ? 'removed' : 'behind-horizon';
      return { type: 'stale', reason, seen: seenOf(message.value.seen) };
    }
    case 'scoped':
      return { fault: 'not a message: of a cluster within a cluster' };
    case undefined:
      return { fault: 'not a message: of a later version, or empty' };
  }
}
