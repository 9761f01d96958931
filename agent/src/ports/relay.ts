// SPDX-License-Identifier: Apache-2.0
/** Calls to this node about another member: by what they reach it (decision 27). */
import type { ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';

export type RelayErrorCode =
  | 'no-mesh' // this node is in none
  | 'unknown-node'
  | 'unreachable'
  | 'too-old' // its agent takes no such calls
  | 'full'; // too many are open

/** message: a sentence for the operator. */
export class RelayError extends Error {
  readonly code: RelayErrorCode;

  constructor(code: RelayErrorCode, message: string) {
    super(message);
    this.name = 'RelayError';
    this.code = code;
  }
}

/** Bytes are passed on as they come: hence a stream of HTTP/2, whose headers, windows and trailers are those of the call. */
export interface Relay {
  /** This node's id; undefined: it is in no mesh. */
  readonly self: string | undefined;
  /** A name for messages. */
  nameOf(nodeId: string): string;
  /**
   * Resolves once the member takes calls and this one has begun, by these headers. Fails as RelayError, or with the
   * signal's reason.
   */
  call(nodeId: string, headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<ClientHttp2Stream>;
}
