// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { packDatagram } from '../wire/datagram.js';
import type { Message, NodeState, StreamMessage } from '../wire/message.js';
import { encodeMessage } from '../wire/message-codec.js';
import { encodeStream } from '../wire/stream-writer.js';
import { datagramBytes, messageBytes, streamBytes } from './size.js';

const source = { host: '10.0.0.1', port: 7946, node: 'node-1' };
const versions = { protocol: [1, 5, 5], delegate: [0, 0, 0] } as const;
const random = (): Uint8Array => new Uint8Array();

const messages: Message[] = [
  { type: 'ping', seq: 4_000_000_000, node: 'node-2', source },
  { type: 'ping', seq: 3, node: 'node-2' },
  { type: 'indirect-ping', seq: 70_000, target: { host: '2001:db8::1', port: 80 }, node: 'node-3', nack: true, source },
  { type: 'ack', seq: 200, payload: Uint8Array.of(1, 2) },
  { type: 'ack', seq: 300, payload: new Uint8Array() },
  { type: 'nack', seq: 1 },
  { type: 'suspect', incarnation: 1000, node: 'node-1', from: 'node-2' },
  { type: 'dead', incarnation: 1, node: 'n'.repeat(40), from: 'node-2' },
  { type: 'alive', incarnation: 300, node: 'node-1', address: source, meta: new Uint8Array(300), versions },
  { type: 'user', body: new Uint8Array(9) },
];

it.each(messages.map((message) => [message.type, message] as const))(
  '%s is as long as the codec makes it',
  (_, message) => {
    expect(messageBytes(message)).toBe(encodeMessage(message).length);
  },
);

it('so are datagrams and state exchanges, neither compressed nor sealed', () => {
  const pack = (of: Message[], checksum: boolean): number =>
    packDatagram(of.map(encodeMessage), { checksum, random }).length;
  expect(datagramBytes(messages, true)).toBe(pack(messages, true));
  expect(datagramBytes(messages.slice(0, 1), false)).toBe(pack(messages.slice(0, 1), false));
  const node: NodeState = {
    name: 'node-1',
    address: source,
    meta: new Uint8Array(),
    incarnation: 70_000,
    state: 'alive',
    versions,
  };
  const exchanges: StreamMessage[] = [
    {
      type: 'push-pull',
      nodes: [node, { ...node, name: 'n'.repeat(33), incarnation: 1 }],
      user: new Uint8Array(5),
      join: true,
    },
    { type: 'error', message: 'no' },
  ];
  for (const message of exchanges)
    expect(streamBytes(message)).toBe(encodeStream(message, { dialled: true, random }).length);
});
