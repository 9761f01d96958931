// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes of messages on the wire, added up and not encoded: a simulation sends millions. Each is a type byte and a
 * msgpack map whose keys are the names of memberlist's Go fields; neither compressed nor encrypted.
 */
import type { Address, Message, NodeState, StreamMessage } from '../wire/message.js';

const TYPE_BYTES = 1;
const MAP_BYTES = 1;
const VERSIONS_BYTES = blob('Vsn', 6);

function integer(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x100) return 2;
  return value < 0x1_0000 ? 3 : 5;
}

function blob(field: string, length: number): number {
  return 1 + field.length + (length < 32 ? 1 : 3) + length;
}

function count(field: string, value: number): number {
  return 1 + field.length + integer(value);
}

function host(field: string, address: Address): number {
  return blob(field, address.host.includes(':') ? 16 : 4);
}

function source(of: (Address & { readonly node: string }) | undefined): number {
  if (!of) return 0;
  return host('SourceAddr', of) + count('SourcePort', of.port) + blob('SourceNode', of.node.length);
}

function accusation(of: { readonly incarnation: number; readonly node: string; readonly from: string }): number {
  return count('Incarnation', of.incarnation) + blob('Node', of.node.length) + blob('From', of.from.length);
}

function nodeBytes(node: NodeState): number {
  const fixed =
    MAP_BYTES + VERSIONS_BYTES + count('State', 0) + host('Addr', node.address) + count('Port', node.address.port);
  return (
    fixed + blob('Name', node.name.length) + blob('Meta', node.meta.length) + count('Incarnation', node.incarnation)
  );
}

function fields(message: Message): number {
  switch (message.type) {
    case 'ping':
      return count('SeqNo', message.seq) + blob('Node', message.node.length) + source(message.source);
    case 'indirect-ping': {
      const target = host('Target', message.target) + count('Port', message.target.port);
      return count('SeqNo', message.seq) + target + blob('Node', message.node.length) + 6 + source(message.source);
    }
    case 'ack':
      return count('SeqNo', message.seq) + blob('Payload', message.payload.length);
    case 'nack':
      return count('SeqNo', message.seq);
    case 'alive': {
      const { address, incarnation, meta, node } = message;
      const where = host('Addr', address) + count('Port', address.port);
      return (
        count('Incarnation', incarnation) +
        blob('Node', node.length) +
        where +
        blob('Meta', meta.length) +
        VERSIONS_BYTES
      );
    }
    case 'suspect':
    case 'dead':
      return accusation(message);
    case 'user':
      return message.body.length - MAP_BYTES;
  }
}

export function messageBytes(message: Message): number {
  return TYPE_BYTES + MAP_BYTES + fields(message);
}

export function datagramBytes(messages: readonly Message[], crc: boolean): number {
  let bytes = crc ? 5 : 0;
  for (const message of messages) bytes += messageBytes(message);
  return messages.length > 1 ? bytes + 2 + 2 * messages.length : bytes;
}

export function streamBytes(message: StreamMessage): number {
  if (message.type === 'error') return TYPE_BYTES + MAP_BYTES + blob('Error', message.message.length);
  if (message.type !== 'push-pull') return messageBytes(message);
  let bytes =
    TYPE_BYTES + MAP_BYTES + count('Nodes', message.nodes.length) + count('UserStateLen', message.user.length) + 6;
  for (const node of message.nodes) bytes += nodeBytes(node);
  return bytes + message.user.length;
}
