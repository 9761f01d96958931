// SPDX-License-Identifier: Apache-2.0
/**
 * ObserveResponse, decoded: what comes by the thousand (backends, counters, tiers, digests) by hand, everything else by the
 * descriptors. A console of 50 nodes hears some 15,000 of these small messages a second; by descriptors they take most of the time that
 * a state of the mesh takes.
 *
 * What is not as it is known here (a field that a newer agent has, another wire type, bytes that are no message) is decoded by the
 * descriptors too: with their result, or their error.
 */
import { create, fromBinary, mergeFromBinary } from '@bufbuild/protobuf';
import type { BackendStatus, EndpointStatus, ServiceTier } from '@marcher/proto/marcher/v1/node_service_pb';
import {
  type ObservedObject,
  ObservedObjectSchema,
  type ObserveResponse,
  ObserveResponseSchema,
} from '@marcher/proto/marcher/v1/observe_service_pb';
import type { Counters, ServiceStats } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { DecodedCache } from './decoded-cache.js';
import { FieldReader, TextCache, Unreadable } from './field-reader.js';

const LENGTH_DELIMITED = 2;
const field = (number: number, wireType = 0): number => (number << 3) | wireType;

/** Of ObserveResponse. */
const OBJECTS = field(7, LENGTH_DELIMITED);
const BACKENDS = field(9, LENGTH_DELIMITED);
const TIERS = field(11, LENGTH_DELIMITED);
const TRAFFIC = field(14, LENGTH_DELIMITED);

const texts = new TextCache();

const known = {
  backends: new DecodedCache<BackendStatus>(),
  tiers: new DecodedCache<ServiceTier>(),
  objects: new DecodedCache<ObservedObject>(),
};

/**
 * isCommon: it is of a state, of which most is what other nodes have said before. A backend, tier or object of it may be the same object
 * as of another one that had the same bytes. Error of @bufbuild/protobuf: the bytes are no ObserveResponse.
 */
export function decodeObserveResponse(bytes: Uint8Array, isCommon = false): ObserveResponse {
  try {
    return decoded(bytes, isCommon);
  } catch (error) {
    if (error instanceof Unreadable || error instanceof RangeError) return fromBinary(ObserveResponseSchema, bytes);
    throw error;
  }
}

function decoded(bytes: Uint8Array, isCommon: boolean): ObserveResponse {
  const reader = new FieldReader(bytes, texts);
  const objects: ObservedObject[] = [];
  const backends: BackendStatus[] = [];
  const tiers: ServiceTier[] = [];
  const traffic: ServiceStats[] = [];
  /** From, to: what the descriptors decode, as long as it goes without anything else between. */
  const rest: number[] = [];
  const view = isCommon ? new DataView(bytes.buffer, bytes.byteOffset, bytes.length) : undefined;
  const read = <T>(cache: DecodedCache<T>, decode: (reader: FieldReader) => T): T => {
    if (view === undefined) return decode(reader);
    const from = reader.at;
    reader.pass();
    const to = reader.at;
    const before = cache.find(view, from, to);
    if (before !== undefined) return before;
    reader.back(from);
    const value = decode(reader);
    cache.keep(bytes, from, to, value);
    return value;
  };
  const object = (): ObservedObject => {
    const from = reader.at;
    return observedObject(reader) ?? fromBinary(ObservedObjectSchema, contents(bytes, from, reader.at));
  };
  while (reader.hasMore) {
    const from = reader.at;
    const tag = reader.tag();
    switch (tag) {
      case BACKENDS:
        backends.push(read(known.backends, backendStatus));
        break;
      case TRAFFIC:
        traffic.push(serviceStats(reader));
        break;
      case TIERS:
        tiers.push(read(known.tiers, serviceTier));
        break;
      case OBJECTS:
        objects.push(read(known.objects, object));
        break;
      default:
        skip(reader, tag);
        if (rest.at(-1) === from) rest.pop();
        else rest.push(from);
        rest.push(reader.at);
    }
  }
  // Each as it stands there: by the descriptors a field that says less than it holds reads what follows it.
  const response = create(ObserveResponseSchema);
  for (let i = 0; i < rest.length; i += 2) {
    mergeFromBinary(ObserveResponseSchema, response, bytes.subarray(rest[i], rest[i + 1]));
  }
  response.objects = objects;
  response.backends = backends;
  response.tiers = tiers;
  response.traffic = traffic;
  return response;
}

function backendStatus(reader: FieldReader): BackendStatus {
  const around = reader.enter();
  let [service, backend, weight, draining, connections] = ['', '', 0, false, 0n];
  let elsewhere: bigint | undefined;
  const endpoints: EndpointStatus[] = [];
  while (reader.hasMore) {
    switch (reader.tag()) {
      case field(1, LENGTH_DELIMITED):
        service = reader.text();
        break;
      case field(2, LENGTH_DELIMITED):
        backend = reader.text();
        break;
      case field(3):
        weight = uint32(reader);
        break;
      case field(4):
        draining = reader.whole() !== 0n;
        break;
      case field(5):
        connections = reader.whole();
        break;
      case field(6, LENGTH_DELIMITED):
        endpoints.push(endpointStatus(reader));
        break;
      case field(7):
        elsewhere = reader.whole();
        break;
      default:
        throw new Unreadable();
    }
  }
  reader.leave(around);
  const $typeName = 'marcher.v1.BackendStatus';
  const status: BackendStatus = { $typeName, service, backend, weight, draining, connections, endpoints };
  if (elsewhere !== undefined) status.elsewhere = elsewhere;
  return status;
}

function endpointStatus(reader: FieldReader): EndpointStatus {
  const around = reader.enter();
  let [address, health, reason, ejected, connections] = ['', 0, '', false, 0n];
  while (reader.hasMore) {
    switch (reader.tag()) {
      case field(1, LENGTH_DELIMITED):
        address = reader.text();
        break;
      case field(2):
        health = int32(reader);
        break;
      case field(3, LENGTH_DELIMITED):
        reason = reader.text();
        break;
      case field(4):
        ejected = reader.whole() !== 0n;
        break;
      case field(5):
        connections = reader.whole();
        break;
      default:
        throw new Unreadable();
    }
  }
  reader.leave(around);
  return { $typeName: 'marcher.v1.EndpointStatus', address, health, reason, ejected, connections };
}

function serviceTier(reader: FieldReader): ServiceTier {
  const around = reader.enter();
  let [service, tier, xdpPackets, xdpBytes, bytesReturned] = ['', '', 0n, 0n, 0n];
  const reasons: string[] = [];
  const fasterIf: string[] = [];
  while (reader.hasMore) {
    switch (reader.tag()) {
      case field(1, LENGTH_DELIMITED):
        service = reader.text();
        break;
      case field(2, LENGTH_DELIMITED):
        tier = reader.text();
        break;
      case field(3, LENGTH_DELIMITED):
        reasons.push(reader.text());
        break;
      case field(4, LENGTH_DELIMITED):
        fasterIf.push(reader.text());
        break;
      case field(5):
        xdpPackets = reader.whole();
        break;
      case field(6):
        xdpBytes = reader.whole();
        break;
      case field(7):
        bytesReturned = reader.whole();
        break;
      default:
        throw new Unreadable();
    }
  }
  reader.leave(around);
  const $typeName = 'marcher.v1.ServiceTier';
  return { $typeName, service, tier, reasons, fasterIf, xdpPackets, xdpBytes, bytesReturned };
}

function serviceStats(reader: FieldReader): ServiceStats {
  const around = reader.enter();
  let service = '';
  let counted: Counters | undefined;
  while (reader.hasMore) {
    switch (reader.tag()) {
      case field(1, LENGTH_DELIMITED):
        service = reader.text();
        break;
      case field(2, LENGTH_DELIMITED):
        // A second one would be merged with the first.
        if (counted !== undefined) throw new Unreadable();
        counted = counters(reader);
        break;
      default:
        // Counters of backends are not among what is observed.
        throw new Unreadable();
    }
  }
  reader.leave(around);
  const $typeName = 'marcher.v1.ServiceStats';
  return counted === undefined
    ? { $typeName, service, backends: [] }
    : { $typeName, service, counters: counted, backends: [] };
}

/** Fields 1 to 24, of which 18 is a list. */
const CONNECT_TIME_US = 18;
const COUNTERS = 24;
const values = new Array<bigint>(COUNTERS + 1).fill(0n);

function counters(reader: FieldReader): Counters {
  const around = reader.enter();
  values.fill(0n);
  const connectTimeUs: bigint[] = [];
  while (reader.hasMore) {
    const tag = reader.tag();
    const number = tag >>> 3;
    if (tag === field(CONNECT_TIME_US, LENGTH_DELIMITED)) {
      const outside = reader.enter();
      while (reader.hasMore) connectTimeUs.push(reader.whole());
      reader.leave(outside);
    } else if ((tag & 7) === 0 && number >= 1 && number <= COUNTERS && number !== CONNECT_TIME_US) {
      values[number] = reader.whole();
    } else {
      throw new Unreadable();
    }
  }
  reader.leave(around);
  const of = (number: number): bigint => values[number] as bigint;
  return {
    $typeName: 'marcher.v1.Counters',
    connectionsOpened: of(1),
    connectionsClosed: of(2),
    bytesReceived: of(3),
    bytesSent: of(4),
    connectFailures: of(5),
    connectRetries: of(6),
    rejected: of(7),
    noBackend: of(8),
    resetsClient: of(9),
    resetsBackend: of(10),
    idleTimeouts: of(11),
    udpPacketsReceived: of(12),
    udpPacketsSent: of(13),
    udpDropped: of(14),
    healthPassed: of(15),
    healthFailed: of(16),
    ejections: of(17),
    connectTimeUs,
    connectTimeUsSum: of(19),
    throttledUs: of(20),
    throttledBytes: of(21),
    rateDropped: of(22),
    rateRefused: of(23),
    ecnMarked: of(24),
  };
}

/** undefined: it says more than a digest, and the descriptors are to decode it. The reader is behind it. */
function observedObject(reader: FieldReader): ObservedObject | undefined {
  const around = reader.enter();
  let [kind, name, generation] = ['', '', 0n];
  let digest: Uint8Array = new Uint8Array(0);
  let isDigest = true;
  while (reader.hasMore) {
    const tag = reader.tag();
    switch (tag) {
      case field(1, LENGTH_DELIMITED):
        kind = reader.text();
        break;
      case field(2, LENGTH_DELIMITED):
        name = reader.text();
        break;
      case field(3):
        generation = reader.whole();
        break;
      case field(4, LENGTH_DELIMITED):
        digest = reader.bytes();
        break;
      default:
        isDigest = false;
        skip(reader, tag);
    }
  }
  reader.leave(around);
  if (!isDigest) return undefined;
  const $typeName = 'marcher.v1.ObservedObject';
  return { $typeName, kind, name, generation, digest, unmet: [], declared: { case: undefined } };
}

/** Of what a varint says, as protobuf has it: the lower half. */
function uint32(reader: FieldReader): number {
  return reader.small() ?? Number(BigInt.asUintN(32, reader.whole()));
}

function int32(reader: FieldReader): number {
  return reader.small() ?? Number(BigInt.asIntN(32, reader.whole()));
}

function skip(reader: FieldReader, tag: number): void {
  const wireType = tag & 7;
  if (wireType === 0) reader.whole();
  else if (wireType === LENGTH_DELIMITED) reader.pass();
  else throw new Unreadable();
}

/** What is in a field with a length, without the length. */
function contents(bytes: Uint8Array, from: number, to: number): Uint8Array {
  let at = from;
  while ((bytes[at] as number) >= 0x80) at++;
  return bytes.subarray(at + 1, to);
}
