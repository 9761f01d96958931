// SPDX-License-Identifier: Apache-2.0
/**
 * Calls as a page makes them, at the agent that was chosen, or by it at another member: bytes go through as they are, both ways
 * at the pace of the slower side.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders as Http2Headers } from 'node:http2';
import { type AgentError, type Target, toAgentError } from '@marcher/client';
import type { Connection } from '@marcher/client/connection';
import { type CallPath, failureHeaders, isAnswerHeader, PASSED_HEADERS } from '../wire/call.js';

export interface Answer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: ClientHttp2Stream;
}

export class AgentDoor {
  readonly #connection: Connection;
  readonly #target: Target;

  constructor(connection: Connection, target: Target) {
    this.#connection = connection;
    this.#target = target;
  }

  /** The call, whose request is still to be written. Fails as AgentError. */
  async open({ node, method }: CallPath, headers: IncomingHttpHeaders): Promise<ClientHttp2Stream> {
    const passed = Object.fromEntries(
      PASSED_HEADERS.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])),
    );
    const through = node === 'entry' ? {} : { 'marcher-node': node };
    try {
      return await this.#connection.request('POST', method, { ...passed, ...through }, {});
    } catch (error) {
      throw toAgentError(error, this.#target);
    }
  }

  /** Fails as AgentError. */
  answer(stream: ClientHttp2Stream): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const failed = (error: unknown): void => reject(toAgentError(error, this.#target));
      stream.once('error', failed);
      stream.once('close', () => failed(Object.assign(new Error('it was closed'), { code: 'ECONNRESET' })));
      stream.once('response', (headers) => {
        const { status, rest } = withoutPseudo(headers);
        resolve({ status, headers: rest, body: stream });
      });
    });
  }

  reason(error: unknown): AgentError {
    return toAgentError(error, this.#target);
  }
}

/** The other side is told that nobody waits for the answer any more. */
export function giveUp(stream: ClientHttp2Stream | undefined): void {
  if (stream !== undefined && !stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
}

export function failedAnswer(error: AgentError): OutgoingHttpHeaders {
  const denied = error.code === 'denied' || error.code === 'untrusted';
  return failureHeaders(denied ? 'PERMISSION_DENIED' : 'UNAVAILABLE', error.message);
}

function withoutPseudo(headers: Http2Headers): { status: number; rest: OutgoingHttpHeaders } {
  const rest: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && isAnswerHeader(name)) rest[name] = value;
  }
  return { status: Number(headers[':status'] ?? 502), rest };
}
