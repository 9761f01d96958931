// SPDX-License-Identifier: Apache-2.0
/**
 * One message as a stream carries it, from the outside in: label header (only of the side that has dialled), sealing,
 * compression, message. Source: memberlist's net.go (sendLocalState, sendUserMsg, rawSendMsgStream) and label.go.
 *
 *   sealed     type 10, length of what follows (4 bytes), sealed; associated data: type, length and label
 *   push-pull  type 6, header {Nodes, UserStateLen, Join}, as many node states, the user's state
 *   user       type 8, header {UserMsgLen}, the body
 */
import { compressed, joined, labelBytes, labelHeader, type SendSettings, sealingKeys } from './envelope.js';
import { PUSH_PULL_HEADER, USER_HEADER } from './go-struct.js';
import type { PushPull, StreamMessage, User } from './message.js';
import { encodeMessage, writeNodeState } from './message-codec.js';
import { MsgpackWriter } from './msgpack-writer.js';
import { STATE_BYTES_MAX, STATE_NODES_MAX, TYPE, USER_MESSAGE_BYTES_MAX } from './protocol.js';
import { SEAL_BYTES, seal } from './sealing.js';

export interface StreamSettings extends SendSettings {
  /** This side has dialled: its bytes begin with the label header; those of the side that answers never do. */
  readonly dialled: boolean;
}

const SEALED_HEADER_BYTES = 5;

/** Throws RangeError for what the other side would refuse: more nodes or bytes than the protocol's limits. */
export function encodeStream(message: StreamMessage, settings: StreamSettings): Uint8Array {
  const label = labelBytes(settings);
  let body = encodeBody(message);
  if (settings.compress === true) body = compressed(body);
  const keys = sealingKeys(settings);
  if (keys !== undefined) {
    const header = sealedHeader(body.length + SEAL_BYTES);
    body = joined(header, seal(keys, body, joined(header, label), settings.random));
  }
  return settings.dialled ? joined(labelHeader(label), body) : body;
}

function encodeBody(message: StreamMessage): Uint8Array {
  if (message.type === 'push-pull') return encodePushPull(message);
  if (message.type === 'user') return encodeUser(message);
  return encodeMessage(message);
}

function sealedHeader(length: number): Uint8Array {
  within('a sealed message', length, STATE_BYTES_MAX);
  const header = new Uint8Array(SEALED_HEADER_BYTES);
  header[0] = TYPE.encrypt;
  new DataView(header.buffer).setUint32(1, length);
  return header;
}

function encodePushPull({ nodes, user, join }: PushPull): Uint8Array {
  if (nodes.length > STATE_NODES_MAX) {
    throw new RangeError(`${nodes.length} nodes cannot be sent: at most ${STATE_NODES_MAX} are taken`);
  }
  within("the user's state", user.length, STATE_BYTES_MAX);
  const writer = new MsgpackWriter(128 * (nodes.length + 1) + user.length);
  writer.byte(TYPE.pushPull);
  PUSH_PULL_HEADER.write(writer, { Nodes: nodes.length, UserStateLen: user.length, Join: join });
  const start = writer.length;
  for (const node of nodes) writeNodeState(writer, node);
  within('the state of all nodes', writer.length - start, STATE_BYTES_MAX);
  writer.plain(user);
  return writer.finish();
}

function encodeUser({ body }: User): Uint8Array {
  within('a user message', body.length, USER_MESSAGE_BYTES_MAX);
  const writer = new MsgpackWriter(32 + body.length);
  writer.byte(TYPE.user);
  USER_HEADER.write(writer, { UserMsgLen: body.length });
  writer.plain(body);
  return writer.finish();
}

function within(what: string, length: number, max: number): void {
  if (length > max) throw new RangeError(`${what} of ${length} bytes cannot be sent: at most ${max} are taken`);
}
