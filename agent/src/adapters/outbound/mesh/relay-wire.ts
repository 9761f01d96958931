// SPDX-License-Identifier: Apache-2.0
/**
 * How calls are passed on between nodes: HTTP/2, by a name of its own in ALPN, so that an agent that knows nothing of it
 * refuses the connection, and none of it meets the calls and messages that nodes have for each other.
 *
 * A stream is a call as its caller has made it (gRPC, gRPC-Web or Connect), without its credentials, and with RELAYED_HEADER.
 */
export const RELAY_PROTOCOL = 'marcher-relay/1';

/** Who calls: domain/access/relayed.ts. */
export const RELAYED_HEADER = 'marcher-relayed';

/** Calls of one connection at a time. */
export const RELAY_STREAMS = 64;

/** Of a stream: what was sent and not taken yet. It bounds what a slow reader keeps in the memory of the node between. */
export const RELAY_WINDOW_BYTES = 64 * 1024;
