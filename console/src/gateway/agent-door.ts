// SPDX-License-Identifier: Apache-2.0
/**
 * Calls as a page makes them, at the agent that was chosen, or by it at another member: bytes go through as they are, both ways
 * at the pace of the slower side.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders as Http2Headers } from 'node:http2';
import { type AgentError, type Target, toAgentError } from '@marcher/client';
import type { Connection } from '@marcher/client/connection';

/** Of "/agent/NODE/SERVICE/METHOD". */
export interface CallPath {
  /** "entry", or a node's id: 16 hex digits. */
  readonly node: string;
  /** "/marcher.v1.NodeService/Status" */
  readonly method: string;
}

const CALL_PATH = /^\/agent\/(entry|[0-9a-f]{16})(\/[A-Za-z][\w.]{0,127}\/[A-Za-z]\w{0,127})$/;
/** What of a browser's headers an agent is told: nothing of the page, nothing of the cookie. */
const PASSED = ['content-type', 'accept', 'x-grpc-web', 'x-user-agent', 'grpc-timeout', 'connect-protocol-version'];
/** RFC 9113, 8.2.2, and what is the gateway's own to say. */
const KEPT_BACK = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'proxy-connection',
  'set-cookie',
]);

/** undefined: it is no call. */
export function parseCallPath(pathname: string): CallPath | undefined {
  const [, node, method] = CALL_PATH.exec(pathname) ?? [];
  return node === undefined || method === undefined ? undefined : { node, method };
}

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
      PASSED.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])),
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

/** What gRPC-Web says in place of an answer: a page reads it as a call that has failed. */
export function failedAnswer(error: AgentError): OutgoingHttpHeaders {
  const denied = error.code === 'denied' || error.code === 'untrusted';
  return {
    'content-type': 'application/grpc-web+proto',
    // PERMISSION_DENIED, UNAVAILABLE
    'grpc-status': denied ? '7' : '14',
    'grpc-message': encodeURIComponent(error.message),
  };
}

function withoutPseudo(headers: Http2Headers): { status: number; rest: OutgoingHttpHeaders } {
  const rest: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !name.startsWith(':') && !KEPT_BACK.has(name)) rest[name] = value;
  }
  return { status: Number(headers[':status'] ?? 502), rest };
}
