// SPDX-License-Identifier: Apache-2.0
/** What the official client fails with, as the ConnectError that every other transport fails with. */
import { Code, ConnectError } from '@connectrpc/connect';
import { codeFromHttpStatus, findTrailerError } from '@connectrpc/connect/protocol-grpc';
import type { Metadata } from 'grpc-web';

/** RpcError of the official client: the code is what was sent, and need not be one that gRPC knows. */
export interface RpcFailure {
  readonly code: number;
  readonly message: string;
  /** Trailers, with error details in grpc-status-details-bin; without grpc-status and grpc-message. */
  readonly metadata?: Metadata | undefined;
}

/** What it says of a status that is no answer to a call; of a connection that failed the status is 0. */
const httpFailure = /^Http response at 400 or 500 level, http status code: (\d+)$/;
/** A token of HTTP (RFC 9110, section 5.6.2): Headers throws at anything else. */
const headerName = /^[\w!#$%&'*+.^`|~-]+$/;

export function fromRpcFailure({ code, message, metadata = {} }: RpcFailure): ConnectError {
  const status = httpFailure.exec(message)?.[1];
  if (status === '0') return brokenOff();
  if (status !== undefined) return new ConnectError(`HTTP ${status}`, codeFromHttpStatus(Number(status)));
  const trailer = headersOf(metadata);
  trailer.set('grpc-status', String(code));
  trailer.set('grpc-message', encodeURIComponent(message.toWellFormed()));
  try {
    return findTrailerError(trailer) ?? new ConnectError(message, Code.Internal, trailer);
  } catch (reason) {
    return ConnectError.from(reason);
  }
}

/** Also what there is to say where an answer has no trailer: the official client takes that for a good end. */
export function brokenOff(): ConnectError {
  return new ConnectError('the connection broke off before the agent had answered: try again', Code.Unavailable);
}

/** What can't be a header is left out. */
export function headersOf(metadata: Metadata): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(metadata)) {
    if (headerName.test(name) && !/[\0\r\n]|[^\0-\xff]/.test(value)) headers.append(name, value);
  }
  return headers;
}
