// SPDX-License-Identifier: Apache-2.0
/** Messages of datagrams and node states, to and from memberlist's structs. */
import { ACCUSATION, ACK, ALIVE, ERROR, INDIRECT_PING, NACK, NODE_STATE, PING, type Struct } from './go-struct.js';
import { ipBytes, ipText } from './ip-bytes.js';
import type { Ack, Address, ErrorReply, Message, NodeState, Ping, Versions } from './message.js';
import { MsgpackReader } from './msgpack-reader.js';
import { MsgpackWriter } from './msgpack-writer.js';
import { META_BYTES_MAX, NAME_BYTES_MAX, STATES, TYPE } from './protocol.js';
import { refuse } from './refusal.js';

const VERSIONS_COUNT = 6;

type Source = Address & { readonly node: string };

interface SourceFields {
  readonly SourceAddr: Uint8Array;
  readonly SourcePort: number;
  readonly SourceNode: string;
}

function sourceFields(source: Source | undefined): SourceFields {
  if (source === undefined) return { SourceAddr: new Uint8Array(0), SourcePort: 0, SourceNode: '' };
  return { SourceAddr: ipBytes(source.host), SourcePort: source.port, SourceNode: source.node };
}

/** memberlist takes address and port or neither. */
function source(fields: SourceFields, what: string): { source?: Source } {
  if (fields.SourceAddr.length === 0 || fields.SourcePort === 0) return {};
  return { source: { ...address(fields.SourceAddr, fields.SourcePort, what), node: fields.SourceNode } };
}

function address(bytes: Uint8Array, port: number, what: string): Address {
  const host = ipText(bytes);
  if (host === undefined)
    return refuse('bad-address', `${what} has an address of ${bytes.length} bytes: expected 4 or 16`);
  return { host, port };
}

function name(text: string, what: string): string {
  if (text === '') return refuse('bad-name', `${what} names no node`);
  // A character is a byte at least, and at most three of a UTF-16 unit.
  if (text.length * 3 > NAME_BYTES_MAX && Buffer.byteLength(text) > NAME_BYTES_MAX) {
    return refuse('bad-name', `${what} has a name of more than ${NAME_BYTES_MAX} bytes`);
  }
  return text;
}

function meta(bytes: Uint8Array, what: string): Uint8Array {
  if (bytes.length <= META_BYTES_MAX) return bytes;
  return refuse(
    'meta-too-long',
    `${what} has ${bytes.length} bytes of metadata: at most ${META_BYTES_MAX} are allowed`,
  );
}

/** Almost every member speaks the same versions: one object serves until another comes. */
let latest: { readonly bytes: Uint8Array; readonly versions: Versions } | undefined;

function versions(bytes: Uint8Array, what: string): Versions {
  const [a, b, c, d, e, f] = bytes;
  if (a === undefined || b === undefined || c === undefined || d === undefined || e === undefined || f === undefined) {
    return refuse('bad-versions', `${what} has ${bytes.length} versions: expected ${VERSIONS_COUNT}`);
  }
  if (latest?.bytes.every((byte, i) => byte === bytes[i]) === true) return latest.versions;
  const fresh: Versions = { protocol: [a, b, c], delegate: [d, e, f] };
  latest = { bytes: new Uint8Array(bytes.subarray(0, VERSIONS_COUNT)), versions: fresh };
  return fresh;
}

function versionBytes({ protocol, delegate }: Versions): Uint8Array {
  return Uint8Array.from([...protocol, ...delegate], (version) => {
    if (Number.isInteger(version) && version >= 0 && version <= 0xff) return version;
    throw new RangeError(`version ${version} cannot be sent: expected a whole number from 0 to 255`);
  });
}

function checkedMeta(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= META_BYTES_MAX) return bytes;
  throw new RangeError(`${bytes.length} bytes of metadata cannot be sent: at most ${META_BYTES_MAX} fit`);
}

function packed<T>(type: number, shape: Struct<T>, value: Readonly<T>): Uint8Array<ArrayBuffer> {
  const writer = new MsgpackWriter();
  writer.byte(type);
  shape.write(writer, value);
  return writer.finish();
}

/**
 * Type and body. Throws RangeError for what the protocol cannot carry (a port of 70,000, a host that is a name): such a
 * message is the caller's mistake.
 */
export function encodeMessage(message: Message | ErrorReply): Uint8Array<ArrayBuffer> {
  switch (message.type) {
    case 'ping':
      return packed(TYPE.ping, PING, { SeqNo: message.seq, Node: message.node, ...sourceFields(message.source) });
    case 'indirect-ping':
      return packed(TYPE.indirectPing, INDIRECT_PING, {
        SeqNo: message.seq,
        Target: ipBytes(message.target.host),
        Port: message.target.port,
        Node: message.node,
        Nack: message.nack,
        ...sourceFields(message.source),
      });
    case 'ack':
      return packed(TYPE.ack, ACK, { SeqNo: message.seq, Payload: message.payload });
    case 'nack':
      return packed(TYPE.nack, NACK, { SeqNo: message.seq });
    case 'suspect':
    case 'dead':
      return packed(TYPE[message.type], ACCUSATION, {
        Incarnation: message.incarnation,
        Node: message.node,
        From: message.from,
      });
    case 'alive':
      return packed(TYPE.alive, ALIVE, {
        Incarnation: message.incarnation,
        Node: message.node,
        Addr: ipBytes(message.address.host),
        Port: message.address.port,
        Meta: checkedMeta(message.meta),
        Vsn: versionBytes(message.versions),
      });
    case 'user': {
      const bytes = new Uint8Array(1 + message.body.length);
      bytes[0] = TYPE.user;
      bytes.set(message.body, 1);
      return bytes;
    }
    case 'error':
      return packed(TYPE.error, ERROR, { Error: message.message });
  }
}

/** body: without the type. Bytes after the value are ignored, as memberlist does. */
function unpacked<T>(shape: Struct<T>, body: Uint8Array, what: string): T {
  return shape.read(new MsgpackReader(body, what));
}

export function decodePing(body: Uint8Array): Ping {
  const ping = unpacked(PING, body, 'a ping');
  return { type: 'ping', seq: ping.SeqNo, node: ping.Node, ...source(ping, 'the source of a ping') };
}

export function decodeAck(body: Uint8Array): Ack {
  const ack = unpacked(ACK, body, 'an ack');
  return { type: 'ack', seq: ack.SeqNo, payload: ack.Payload };
}

export function decodeError(body: Uint8Array): ErrorReply {
  return { type: 'error', message: unpacked(ERROR, body, 'an error').Error };
}

/** bytes: type and body of one message of a datagram. Throws Fault; undefined for a type that is none of those. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  const body = bytes.subarray(1);
  switch (bytes[0]) {
    case TYPE.ping:
      return decodePing(body);
    case TYPE.indirectPing: {
      const what = 'an indirect ping';
      const ping = unpacked(INDIRECT_PING, body, what);
      return {
        type: 'indirect-ping',
        seq: ping.SeqNo,
        target: address(ping.Target, ping.Port, what),
        node: ping.Node,
        nack: ping.Nack,
        ...source(ping, 'the source of an indirect ping'),
      };
    }
    case TYPE.ack:
      return decodeAck(body);
    case TYPE.nack:
      return { type: 'nack', seq: unpacked(NACK, body, 'a nack').SeqNo };
    case TYPE.suspect:
      return { type: 'suspect', ...accusation(body, 'a suspicion') };
    case TYPE.dead:
      return { type: 'dead', ...accusation(body, 'a death') };
    case TYPE.alive: {
      const what = 'an alive message';
      const alive = unpacked(ALIVE, body, what);
      return {
        type: 'alive',
        incarnation: alive.Incarnation,
        node: name(alive.Node, what),
        address: address(alive.Addr, alive.Port, what),
        meta: meta(alive.Meta, what),
        versions: versions(alive.Vsn, what),
      };
    }
    case TYPE.user:
      return { type: 'user', body: new Uint8Array(body) };
    default:
      return undefined;
  }
}

function accusation(body: Uint8Array, what: string): { incarnation: number; node: string; from: string } {
  const { Incarnation, Node, From } = unpacked(ACCUSATION, body, what);
  return { incarnation: Incarnation, node: name(Node, what), from: From };
}

export function writeNodeState(writer: MsgpackWriter, node: NodeState): void {
  NODE_STATE.write(writer, {
    Name: node.name,
    Addr: ipBytes(node.address.host),
    Port: node.address.port,
    Meta: checkedMeta(node.meta),
    Incarnation: node.incarnation,
    State: STATES.indexOf(node.state),
    Vsn: versionBytes(node.versions),
  });
}

export function readNodeState(reader: MsgpackReader): NodeState {
  const what = 'a node state';
  const fields = NODE_STATE.read(reader);
  const state = STATES[fields.State];
  if (state === undefined) return refuse('bad-state', `${what} is ${fields.State}: expected 0 to ${STATES.length - 1}`);
  return {
    name: name(fields.Name, what),
    address: address(fields.Addr, fields.Port, what),
    meta: meta(fields.Meta, what),
    incarnation: fields.Incarnation,
    state,
    versions: versions(fields.Vsn, what),
  };
}
