// SPDX-License-Identifier: Apache-2.0
/**
 * For tests: messages, and the bytes that memberlist (at 1b4c746, with go-msgpack 2.1.5) writes for them. Each was derived
 * from the structs of its net.go (fields in alphabetical order; omitempty for the source of a ping) and the rules of
 * go-msgpack's msgpack.go, and then compared with what the original wrote.
 */

import type { ErrorReply, Message, NodeState, PushPull } from '../message.js';
import { bytes } from './byte-notation.js';

const NOTHING = new Uint8Array(0);
const HOST = { host: '192.0.2.1', port: 7946 };
const VERSIONS = { protocol: [1, 5, 2], delegate: [0, 0, 0] } as const;

export interface Vector<T = Message> {
  readonly name: string;
  readonly message: T;
  readonly bytes: Uint8Array;
}

export const PING: Vector = {
  name: 'ping',
  message: { type: 'ping', seq: 42, node: 'b', source: { ...HOST, node: 'a' } },
  bytes: bytes(
    '00 85', // type, map of 5
    'a4"Node" a1"b"',
    'a5"SeqNo" 2a', // positive fixnum
    'aa"SourceAddr" a4 c0 00 02 01', // raw of 4
    'aa"SourceNode" a1"a"',
    'aa"SourcePort" cd 1f 0a', // uint16
  ),
};

export const ACK: Vector = {
  name: 'ack',
  message: { type: 'ack', seq: 42, payload: NOTHING },
  bytes: bytes('02 82 a7"Payload" c0 a5"SeqNo" 2a'), // nil slice
};

export const SUSPECT: Vector = {
  name: 'suspect',
  message: { type: 'suspect', incarnation: 200, node: 'b', from: 'a' },
  bytes: bytes('03 83 a4"From" a1"a" ab"Incarnation" cc c8 a4"Node" a1"b"'), // uint8
};

export const ALIVE: Vector = {
  name: 'alive',
  message: {
    type: 'alive',
    incarnation: 1,
    node: 'b',
    address: HOST,
    meta: bytes('"m"'),
    versions: VERSIONS,
  },
  bytes: bytes(
    '04 86',
    'a4"Addr" a4 c0 00 02 01',
    'ab"Incarnation" 01',
    'a4"Meta" a1"m"',
    'a4"Node" a1"b"',
    'a4"Port" cd 1f 0a',
    'a3"Vsn" a6 01 05 02 00 00 00', // []uint8 is raw, too
  ),
};

export const MESSAGES: readonly Vector[] = [
  PING,
  {
    name: 'ping without a source',
    message: { type: 'ping', seq: 0x1234_5678, node: 'b' },
    bytes: bytes('00 82 a4"Node" a1"b" a5"SeqNo" ce 12 34 56 78'), // uint32
  },
  {
    name: 'indirect ping, asked for over IPv6',
    message: {
      type: 'indirect-ping',
      seq: 300,
      target: HOST,
      node: 'c',
      nack: true,
      source: { host: '2001:db8::1', port: 8000, node: 'a' },
    },
    bytes: bytes(
      '01 88',
      'a4"Nack" c3',
      'a4"Node" a1"c"',
      'a4"Port" cd 1f 0a',
      'a5"SeqNo" cd 01 2c',
      'aa"SourceAddr" b0 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01', // raw of 16
      'aa"SourceNode" a1"a"',
      'aa"SourcePort" cd 1f 40',
      'a6"Target" a4 c0 00 02 01',
    ),
  },
  {
    name: 'indirect ping without a source, no nack wanted',
    message: { type: 'indirect-ping', seq: 1, target: { host: '192.0.2.1', port: 80 }, node: 'c', nack: false },
    bytes: bytes('01 85 a4"Nack" c2 a4"Node" a1"c" a4"Port" 50 a5"SeqNo" 01 a6"Target" a4 c0 00 02 01'),
  },
  ACK,
  {
    name: 'ack with a payload',
    message: { type: 'ack', seq: 42, payload: Uint8Array.of(1, 2, 3) },
    bytes: bytes('02 82 a7"Payload" a3 01 02 03 a5"SeqNo" 2a'),
  },
  {
    name: 'ack with a payload of 31 bytes, the longest with a head of one byte',
    message: { type: 'ack', seq: 42, payload: new Uint8Array(31).fill(7) },
    bytes: bytes(`02 82 a7"Payload" bf ${'07'.repeat(31)} a5"SeqNo" 2a`),
  },
  {
    name: 'ack with a payload of 40 bytes: raw 16, as the old specification has no raw 8',
    message: { type: 'ack', seq: 42, payload: new Uint8Array(40).fill(7) },
    bytes: bytes(`02 82 a7"Payload" da 00 28 ${'07'.repeat(40)} a5"SeqNo" 2a`),
  },
  { name: 'nack', message: { type: 'nack', seq: 42 }, bytes: bytes('0b 81 a5"SeqNo" 2a') },
  SUSPECT,
  ALIVE,
  {
    name: 'alive over IPv6, without metadata',
    message: {
      type: 'alive',
      incarnation: 70_000,
      node: 'b',
      address: { host: '2001:db8::1', port: 7946 },
      meta: NOTHING,
      versions: VERSIONS,
    },
    bytes: bytes(
      '04 86',
      'a4"Addr" b0 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01',
      'ab"Incarnation" ce 00 01 11 70',
      'a4"Meta" c0',
      'a4"Node" a1"b"',
      'a4"Port" cd 1f 0a',
      'a3"Vsn" a6 01 05 02 00 00 00',
    ),
  },
  {
    name: 'dead, by itself: it has left',
    message: { type: 'dead', incarnation: 0xffff_ffff, node: 'b', from: 'b' },
    bytes: bytes('05 83 a4"From" a1"b" ab"Incarnation" ce ff ff ff ff a4"Node" a1"b"'),
  },
  { name: 'user', message: { type: 'user', body: bytes('"hi"') }, bytes: bytes('08 "hi"') },
];

export const ERROR: Vector<ErrorReply> = {
  name: 'error',
  message: { type: 'error', message: 'no' },
  bytes: bytes('0d 81 a5"Error" a2"no"'),
};

export const NODES: readonly NodeState[] = [
  { name: 'a', address: HOST, meta: bytes('"m"'), incarnation: 3, state: 'alive', versions: VERSIONS },
  {
    name: 'b',
    address: { host: '2001:db8::1', port: 8000 },
    meta: NOTHING,
    incarnation: 300,
    state: 'left',
    versions: { protocol: [1, 5, 2], delegate: [2, 5, 4] },
  },
];

export const PUSH_PULL: Vector<PushPull> = {
  name: 'push-pull of two nodes',
  message: { type: 'push-pull', nodes: NODES, user: bytes('"user"'), join: true },
  bytes: bytes(
    '06',
    '83 a4"Join" c3 a5"Nodes" 02 ac"UserStateLen" 04',
    '87 a4"Addr" a4 c0 00 02 01 ab"Incarnation" 03 a4"Meta" a1"m" a4"Name" a1"a" a4"Port" cd 1f 0a',
    'a5"State" 00 a3"Vsn" a6 01 05 02 00 00 00',
    '87 a4"Addr" b0 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 ab"Incarnation" cd 01 2c a4"Meta" c0',
    'a4"Name" a1"b" a4"Port" cd 1f 40 a5"State" 03 a3"Vsn" a6 01 05 02 02 05 04',
    '"user"',
  ),
};
