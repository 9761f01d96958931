// SPDX-License-Identifier: Apache-2.0
/** The numbers of memberlist's protocol (its net.go, security.go and label.go), and the bounds on what comes in. */

/** First byte of every message. Sealed datagrams begin with the version of the sealing (0 or 1) instead. */
export const TYPE = {
  ping: 0,
  indirectPing: 1,
  ack: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  encrypt: 10,
  nack: 11,
  checksum: 12,
  error: 13,
  label: 244,
} as const;

const TYPES: ReadonlySet<number> = new Set(Object.values(TYPE));

export function isType(byte: number): boolean {
  return TYPES.has(byte);
}

/** State in push-pull, by its number. */
export const STATES = ['alive', 'suspect', 'dead', 'left'] as const;

export const META_BYTES_MAX = 512;
/** memberlist has no limit; a longer name would never fit into a datagram with anything else. */
export const NAME_BYTES_MAX = 512;
export const LABEL_BYTES_MAX = 255;

/** What memberlist fills a datagram up to (UDPBufferSize). */
export const DATAGRAM_BUDGET_BYTES = 1_400;
/** The largest that UDP carries; also the most that one datagram may hold after decompression. */
export const DATAGRAM_BYTES_MAX = 65_536;
export const COMPOUND_PARTS_MAX = 255;
export const COMPOUND_PART_BYTES_MAX = 65_535;
/** Type and number of parts, then a length for each. */
export const COMPOUND_HEADER_BYTES = 2;
export const COMPOUND_PART_HEADER_BYTES = 2;
export const CHECKSUM_HEADER_BYTES = 5;
/** memberlist nests compound in compress and nothing else; it has no limit. */
export const NESTING_MAX = 4;

const MIB = 1024 * 1024;
/** maxPushStateBytes: a sealed stream, a compressed one, all node states of a push-pull, and the user's state, each. */
export const STATE_BYTES_MAX = 20 * MIB;
/** maxPushStateNodes. */
export const STATE_NODES_MAX = 1024 * 1024;
/** maxUserMsgBytes. */
export const USER_MESSAGE_BYTES_MAX = 20 * MIB;
/** maxDecompressedBytes: the user's state, and as much for the nodes. */
export const DECOMPRESSED_BYTES_MAX = 2 * STATE_BYTES_MAX;
/** One msgpack value of a stream: a header, a node, a ping, an error. */
export const STREAM_VALUE_BYTES_MAX = 65_536;
