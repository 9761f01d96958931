// SPDX-License-Identifier: Apache-2.0
/** A page's call to an agent, "/NODE/SERVICE/METHOD" below where calls are, and which of its headers go on. */

export interface CallPath {
  /** "entry", or a node's id: 16 hex digits. */
  readonly node: string;
  /** "/marcher.v1.NodeService/Status" */
  readonly method: string;
}

const CALL_PATH = /^\/(entry|[0-9a-f]{16})(\/[A-Za-z][\w.]{0,127}\/[A-Za-z]\w{0,127})$/;

/** undefined: it is no call. */
export function parseCallPath(pathname: string): CallPath | undefined {
  const [, node, method] = CALL_PATH.exec(pathname) ?? [];
  return node === undefined || method === undefined ? undefined : { node, method };
}

/** Under app:// the page says with each call which mesh it is for: a name of the address book, or "local". Agents are not told. */
export const MESH_HEADER = 'marcher-mesh';

/** What of a page's headers an agent is told: nothing of the page, nothing of the cookie. */
export const PASSED_HEADERS: readonly string[] = [
  'content-type',
  'accept',
  'x-grpc-web',
  'x-user-agent',
  'grpc-timeout',
  'connect-protocol-version',
];

/** Of an agent's answer: RFC 9113, 8.2.2 (of a connection, not of an answer), and what is not an agent's to say. */
const KEPT_BACK = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'proxy-connection',
  'set-cookie',
]);

export function isAnswerHeader(name: string): boolean {
  return !name.startsWith(':') && !KEPT_BACK.has(name);
}

/** What gRPC-Web says in place of an answer: a page reads it as a call that has failed. */
export function failureHeaders(code: 'PERMISSION_DENIED' | 'UNAVAILABLE', message: string): Record<string, string> {
  return {
    'content-type': 'application/grpc-web+proto',
    'grpc-status': code === 'PERMISSION_DENIED' ? '7' : '14',
    'grpc-message': encodeURIComponent(message.toWellFormed()),
  };
}
