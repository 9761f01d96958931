// SPDX-License-Identifier: Apache-2.0
/**
 * What answers app://agent/: the renderer's files, and its calls, which go on to agents over connections that the renderer never
 * sees. Bodies go through as they come, both ways; who goes away ends the call at the agent.
 *
 *   GET  /…                        the renderer
 *   POST /NODE/SERVICE/METHOD      a call; NODE is "entry" or a node's id, of the mesh that the header "marcher-mesh" names
 *
 * Each call names its mesh, so that none ever goes to another than the page shows, whatever was chosen meanwhile.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import { type Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { AgentError } from '@marcher/client';
import { isTargetName } from '@marcher/client/address-book';
import { failedAnswer } from '../entry/agent-door.js';
import { type CallPath, isAnswerHeader, MESH_HEADER, PASSED_HEADERS, parseCallPath } from '../wire/call.js';
import { CONTENT_SECURITY_POLICY, PAGE_HEADERS } from '../wire/page-policy.js';
import { isOwnAddress, SCHEME } from './origin.js';

/** For Electron's protocol.registerSchemesAsPrivileged: an origin of its own, whose answers may be streams. */
export const SCHEME_PRIVILEGES = {
  scheme: SCHEME,
  privileges: { standard: true, secure: true, supportFetchAPI: true, stream: true, codeCache: true },
} as const;

export interface MeshCall extends CallPath {
  /** A name of the address book, or "local". */
  readonly mesh: string;
}

/** The way to agents; calls fail as AgentError, or as Error with a sentence. */
export interface Agents<Stream extends Duplex> {
  open(call: MeshCall, headers: IncomingHttpHeaders): Promise<Stream>;
  answer(
    stream: Stream,
  ): Promise<{ readonly status: number; readonly headers: OutgoingHttpHeaders; readonly body: Readable }>;
  /** Nobody waits for the answer any more. */
  giveUp(stream: Stream): void;
}

/** The built renderer. */
export interface Files {
  /** undefined: there is none of that name. */
  find(pathname: string): { readonly body: Uint8Array; readonly type: string } | undefined;
}

/** For Electron's protocol.handle. */
export function answerApp<Stream extends Duplex>(
  files: Files,
  agents: Agents<Stream>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (!isOwnAddress(request.url)) return plain(404, 'there is nothing here');
    const { pathname } = new URL(request.url);
    if (request.method === 'GET') return page(files, pathname);
    if (request.method !== 'POST') return plain(405, 'expected GET or POST');
    const call = parseCallPath(pathname);
    if (call === undefined) return plain(404, 'there is nothing here');
    const mesh = request.headers.get(MESH_HEADER) ?? '';
    if (!isTargetName(mesh)) return plain(400, `expected the header ${MESH_HEADER} with the name of a target`);
    return await forward({ ...call, mesh }, request, agents);
  };
}

function page(files: Files, pathname: string): Response {
  const file = files.find(pathname === '/' ? '/index.html' : pathname);
  if (file === undefined) return plain(404, 'there is nothing here');
  return new Response(Uint8Array.from(file.body), {
    headers: {
      ...PAGE_HEADERS,
      'content-type': file.type,
      'cache-control': 'no-store',
    },
  });
}

async function forward<Stream extends Duplex>(
  call: MeshCall,
  request: Request,
  agents: Agents<Stream>,
): Promise<Response> {
  const headers: IncomingHttpHeaders = {};
  for (const name of PASSED_HEADERS) {
    const value = request.headers.get(name);
    if (value !== null) headers[name] = value;
  }
  let stream: Stream | undefined;
  const giveUp = (): void => {
    if (stream !== undefined) agents.giveUp(stream);
  };
  request.signal.addEventListener('abort', giveUp, { once: true });
  try {
    stream = await agents.open(call, headers);
    if (request.signal.aborted) throw new Error('the page does not wait for it any more');
    const body = Readable.fromWeb((request.body ?? new Blob([]).stream()) as ReadableStream);
    // An agent may answer before it has read everything; what it says counts.
    const opened = stream;
    pipeline(body, opened, { end: true }).catch(() => undefined);
    const { status, headers: answered, body: answer } = await agents.answer(opened);
    answer.once('close', () => request.signal.removeEventListener('abort', giveUp));
    return new Response(asItComes(answer, giveUp), { status, headers: plainHeaders(answered) });
  } catch (reason) {
    giveUp();
    return failed(reason as Error);
  }
}

/** A stream of HTTP/2 that is reset ends like a whole one, but for its code. */
function asItComes(answer: Readable, giveUp: () => void): globalThis.ReadableStream {
  const chunks = answer[Symbol.asyncIterator]();
  return new globalThis.ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await chunks.next();
      if (done !== true) controller.enqueue(value as Uint8Array);
      else if ('rstCode' in answer && answer.rstCode !== 0)
        controller.error(new Error('the agent broke off its answer'));
      else controller.close();
    },
    cancel: giveUp,
  });
}

function plainHeaders(answered: OutgoingHttpHeaders): Headers {
  const headers = new Headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  for (const [name, value] of Object.entries(answered)) {
    if (value !== undefined && isAnswerHeader(name)) headers.set(name, String(value));
  }
  return headers;
}

/** A page reads it as a call that has failed. */
function failed(reason: Error): Response {
  const error = reason instanceof AgentError ? reason : new AgentError('unavailable', reason.message, [], reason);
  return new Response(null, {
    status: 200,
    headers: plainHeaders(failedAnswer(error)),
  });
}

function plain(status: number, text: string): Response {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-security-policy': CONTENT_SECURITY_POLICY };
  return new Response(`${text}\n`, { status, headers });
}
