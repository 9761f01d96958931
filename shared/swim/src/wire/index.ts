// SPDX-License-Identifier: Apache-2.0
/** memberlist's wire protocol, version 5: datagrams and streams, to and from messages. */
export {
  type DatagramResult,
  type DatagramSettings,
  type Dropped,
  decodeDatagram,
  encodeDatagram,
  gossipRoom,
  packDatagram,
} from './datagram.js';
export type { SendSettings, WireSettings } from './envelope.js';
export { KEY_BYTES, KEYS_MAX, Keyring, KeyringError } from './keyring.js';
export type * from './message.js';
export { encodeMessage } from './message-codec.js';
export {
  COMPOUND_PART_HEADER_BYTES,
  COMPOUND_PARTS_MAX,
  DATAGRAM_BUDGET_BYTES,
  DATAGRAM_BYTES_MAX,
  LABEL_BYTES_MAX,
  META_BYTES_MAX,
  NAME_BYTES_MAX,
  STATE_BYTES_MAX,
  STATE_NODES_MAX,
  USER_MESSAGE_BYTES_MAX,
} from './protocol.js';
export type { Refusal, RefusalReason } from './refusal.js';
export type { RandomBytes } from './sealing.js';
export type { DroppedNodes } from './stream-body.js';
export { StreamDecoder, type StreamDecoderSettings, type StreamProgress } from './stream-decoder.js';
export { encodeStream, type StreamSettings } from './stream-writer.js';
