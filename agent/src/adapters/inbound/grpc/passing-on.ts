// SPDX-License-Identifier: Apache-2.0
/**
 * Calls about another member, which this node passes on to it (decision 27). The header NODE_HEADER names the member.
 *
 *   caller --identified and authorised here, as for a call about this node--> isRelayable() --Relay--> the member's door
 *
 * Bytes go through as they come, both ways, one window of each stream at most: a reader that is slow makes the member
 * wait. A call that can't be passed on is answered by this node's own handler, which refuses it in the caller's protocol
 * (call-gate.ts: notPassedOnKey). One that breaks off in the midst ends with a status where the protocol has trailers
 * (gRPC), and else by a reset.
 */
import {
  type ClientHttp2Stream,
  type Http2ServerRequest,
  type Http2ServerResponse,
  constants as http2,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { pipeline } from 'node:stream';
import { Code, ConnectError } from '@connectrpc/connect';
import { findTrailerError, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { authorize } from '../../../domain/access/authorize.js';
import { encodeRelayed, isRelayable } from '../../../domain/access/relayed.js';
import { isNodeId } from '../../../domain/identity/names.js';
import { type Relay, RelayError, type RelayErrorCode } from '../../../ports/relay.js';
import { RELAYED_HEADER } from '../../outbound/mesh/relay-wire.js';
import type { ApiLogger } from './api-log.js';
import type { AllowedPeer, Peer } from './peer.js';

/** 16 hex digits: the member that is asked. */
export const NODE_HEADER = 'marcher-node';

export interface PassedCall {
  /** What NODE_HEADER said. */
  readonly node: string | readonly string[];
  readonly peer: Peer;
  /** "marcher.v1.NodeService/Drain" */
  readonly method: string;
  readonly unary: boolean;
  readonly request: Http2ServerRequest;
  /** The request's, within its limit: fails with a ConnectError beyond. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly response: Http2ServerResponse;
  /** Aborts when the caller has gone, with a ConnectError when this node ends the call. */
  readonly signal: AbortSignal;
}

/** 'own': it is about this node. A ConnectError: why it was not passed on; nothing was answered yet. */
export type PassedOn = 'own' | 'answered' | ConnectError;

/** What a request is understood by. Credentials are not among it, and nothing that a proxy would add. */
const REQUEST_HEADERS: readonly string[] = [
  ...['content-type', 'content-encoding', 'accept', 'accept-encoding', 'user-agent', 'x-user-agent', 'x-grpc-web'],
  ...['grpc-timeout', 'grpc-encoding', 'grpc-accept-encoding'],
  ...['connect-protocol-version', 'connect-timeout-ms', 'connect-content-encoding', 'connect-accept-encoding'],
];
/** And an answer. */
const RESPONSE_HEADER = /^(?:content-(?:type|encoding)|(?:grpc|connect|trailer)-[a-z0-9-]+)$/;
const TRAILER = /^grpc-[a-z0-9-]+$/;
/** An answer to a call without a deadline of its own. */
const UNARY_MS = 600_000;

const codes: Readonly<Record<RelayErrorCode, Code>> = {
  'no-mesh': Code.FailedPrecondition,
  'unknown-node': Code.NotFound,
  unreachable: Code.Unavailable,
  'too-old': Code.Unimplemented,
  full: Code.ResourceExhausted,
};

/** relay: absent: this node can be in no mesh. Never rejects. */
export async function passOn(relay: Relay | undefined, logger: ApiLogger, call: PassedCall): Promise<PassedOn> {
  const { peer, request, signal, node } = call;
  if (peer.relayedBy !== undefined) {
    return new ConnectError('a call that a node has passed on is not passed on again', Code.InvalidArgument);
  }
  if (typeof node !== 'string' || !isNodeId(node)) {
    const said = JSON.stringify(String(node).slice(0, 40));
    return new ConnectError(
      `the header ${NODE_HEADER} is ${said}: expected the id of a member, 16 hex digits, as marcher mesh members has it`,
      Code.InvalidArgument,
    );
  }
  if (relay?.self === undefined) {
    const fix = 'make one with marcher mesh init, or start the agent with --join';
    return new ConnectError(`this node is in no mesh, and knows no node ${node}: ${fix}`, Code.FailedPrecondition);
  }
  if (node === relay.self) return 'own';
  const said = credentialsOf(call);
  if (said instanceof ConnectError) return said;
  const headers: OutgoingHttpHeaders = { ':method': 'POST', ':path': request.url, [RELAYED_HEADER]: said };
  for (const name of REQUEST_HEADERS) {
    const value = request.headers[name];
    if (value !== undefined) headers[name] = value;
  }
  if (request.headers['te'] === 'trailers') headers['te'] = 'trailers';
  try {
    const upstream = await relay.call(node, headers, signal);
    return await pass(upstream, relay.nameOf(node), logger, call);
  } catch (error) {
    if (error instanceof RelayError) return new ConnectError(error.message, codes[error.code]);
    // The caller has gone, or was asked to.
    if (signal.aborted) return ConnectError.from(signal.reason, Code.Canceled);
    logger.error({ error: error instanceof Error ? error.stack : String(error) }, 'a call was not passed on');
    return new ConnectError("internal error: the agent's log has the details", Code.Internal);
  }
}

/** What the member is told of who calls; or why nothing is. */
function credentialsOf({ peer, method, request }: PassedCall): string | ConnectError {
  if (!mayCall(peer, method)) return new ConnectError('say who you are', Code.Unauthenticated);
  if (!isRelayable(method)) {
    const reason = `${method} is not passed on to other nodes: what it changes, any node changes for all, or the node itself`;
    return new ConnectError(reason, Code.FailedPrecondition);
  }
  if (request.method !== 'POST') return new ConnectError('only POST is passed on', Code.InvalidArgument);
  const encoded = encodeRelayed({ principal: peer.principal, source: peer.source });
  if ('text' in encoded) return encoded.text;
  const reason = `another node can't be told who calls: ${encoded.fault}; call that node itself`;
  return new ConnectError(reason, Code.FailedPrecondition);
}

/** As the call gate has it, which says why not. */
function mayCall(peer: Peer, method: string): peer is AllowedPeer & { readonly principal: object } {
  return peer.allowed && peer.principal !== undefined && authorize(peer.principal, method).allowed;
}

function pass(upstream: ClientHttp2Stream, name: string, logger: ApiLogger, call: PassedCall): Promise<PassedOn> {
  const { method, unary, body, request, response, signal, peer } = call;
  const startedMs = performance.now();
  const isGrpc = /^application\/grpc(?:\+|;|$)/.test(request.headers['content-type'] ?? '');
  return new Promise((resolve) => {
    let isOver = false;
    /** error: what the caller was told. */
    const over = (error: ConnectError | undefined): void => {
      isOver = true;
      clearTimeout(deadline);
      signal.removeEventListener('abort', onAbort);
      const code = error === undefined ? 'ok' : Code[error.code];
      const fields = { method, caller: peer.author, node: name, code, ms: Math.round(performance.now() - startedMs) };
      logger.debug(error === undefined ? fields : { ...fields, error: error.rawMessage }, 'a call was passed on');
    };
    const fail = (error: ConnectError): void => {
      if (isOver) return;
      over(error);
      if (!upstream.closed) upstream.close(http2.NGHTTP2_CANCEL);
      if (response.headersSent) breakOff(response, isGrpc, error);
      else resolve(error);
    };
    const lost = (reason: string): void => {
      fail(new ConnectError(`node ${name} has not answered to the end: ${reason}`, Code.Unavailable));
    };
    const onAbort = (): void => fail(ConnectError.from(signal.reason, Code.Canceled));
    const onDeadline = (): void => {
      fail(new ConnectError(`node ${name} has not answered within ${UNARY_MS} ms`, Code.DeadlineExceeded));
    };
    const deadline = unary ? setTimeout(onDeadline, UNARY_MS).unref() : undefined;
    signal.addEventListener('abort', onAbort, { once: true });

    upstream.on('error', (error) => (error instanceof ConnectError ? fail(error) : lost(error.message)));
    upstream.once('close', () => lost(`the stream was closed with code ${upstream.rstCode}`));
    upstream.once('response', (headers, flags) => {
      if (isOver) return;
      const status = headers[':status'] ?? 0;
      if (status < 200 || status > 599) {
        lost(`its status is ${status}`);
        return;
      }
      const kept = keptOf(headers, RESPONSE_HEADER);
      // Headers alone are an answer, too, and stay that.
      if ((flags & http2.NGHTTP2_FLAG_END_STREAM) !== 0) {
        response.statusCode = status;
        for (const [field, value] of Object.entries(kept)) if (value !== undefined) response.setHeader(field, value);
        response.end();
        over(statusOf(kept));
        resolve('answered');
        return;
      }
      let trailers: IncomingHttpHeaders | undefined;
      response.writeHead(status, kept);
      resolve('answered');
      upstream.once('trailers', (fields) => {
        trailers = keptOf(fields, TRAILER);
      });
      upstream.once('end', () => {
        // What was cut off ends, too: then it is lost when it is closed.
        const isCut =
          upstream.rstCode !== http2.NGHTTP2_NO_ERROR || (isGrpc && status === 200 && trailers === undefined);
        if (isOver || isCut) return;
        if (!response.destroyed && trailers !== undefined) response.addTrailers(trailers as OutgoingHttpHeaders);
        response.end();
        over(statusOf(trailers ?? {}));
      });
      upstream.pipe(response as unknown as NodeJS.WritableStream, { end: false });
    });
    // Of a call that was answered before it was whole, the rest is read and dropped.
    response.once('finish', () => request.resume());
    pipeline(body, upstream, (error) => {
      // Of the caller's making: it has sent too much. Whatever else it is, the stream ends by it, too.
      if (error instanceof ConnectError) fail(error);
    });
    if (signal.aborted) onAbort();
  });
}

/** After its headers. */
function breakOff(response: Http2ServerResponse, isGrpc: boolean, error: ConnectError): void {
  if (response.destroyed || response.stream.destroyed) return;
  if (!isGrpc) {
    response.stream.close(http2.NGHTTP2_INTERNAL_ERROR);
    return;
  }
  response.addTrailers(Object.fromEntries(setTrailerStatus(new Headers(), error)));
  response.end();
}

function keptOf(headers: IncomingHttpHeaders, pattern: RegExp): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([field]) => pattern.test(field)));
}

/** As the member has ended the call, where its protocol has headers or trailers that say so. */
function statusOf(fields: IncomingHttpHeaders): ConnectError | undefined {
  const { 'grpc-status': status = '0', 'grpc-message': message = '' } = fields;
  return findTrailerError(new Headers({ 'grpc-status': String(status), 'grpc-message': String(message) }));
}
