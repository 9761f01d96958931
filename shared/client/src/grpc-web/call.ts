// SPDX-License-Identifier: Apache-2.0
/**
 * One call by the official client, told as: messages, then one end.
 *
 *   open ──data──▶ message()…            a message, when it is there (text) or with the end of the answer (binary)
 *     │──error────────────────▶ ended    a trailer that says so, a status of HTTP, no connection
 *     │──status 0──▶ trailer ──end──▶ ended
 *     └──end───────────────────────▶ ended  without a trailer: the answer was cut off
 *
 * The client says some errors twice, and "end" after an error that a trailer said: the first end is the one that counts.
 * Both of its kinds of calls are one to it; unary ones go by the same way here, so that what comes is judged once.
 */

import type { DescMessage, DescMethodStreaming, DescMethodUnary } from '@bufbuild/protobuf';
import { fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { type GrpcWebClientBase, type Metadata, MethodDescriptor, type RpcError } from 'grpc-web';
import { brokenOff, fromRpcFailure, headersOf } from './rpc-error.js';

export interface CallRequest<I extends DescMessage, O extends DescMessage> {
  readonly method: DescMethodUnary<I, O> | DescMethodStreaming<I, O>;
  readonly url: string;
  readonly header: Headers;
  readonly message: MessageShape<I>;
  readonly signal: AbortSignal;
}

export interface CallEvents<O extends DescMessage> {
  /** bytes: as it came. */
  message(message: MessageShape<O>, bytes: number): void;
  /** Once. header: all of them, or none where the call ended before the client had told of them. */
  ended(reason: ConnectError | undefined, header: Headers, trailer: Headers): void;
}

interface Received<O extends DescMessage> {
  readonly message: MessageShape<O>;
  readonly bytes: number;
}

/** Said of a type that is not gRPC-Web's, before the status of HTTP that explains it is known. */
const unknownType = 'Unknown Content-type received.';
/** The client sets these itself, and a second value would be joined to its own. */
const ownHeaders: ReadonlySet<string> = new Set(['accept', 'content-type', 'user-agent', 'x-grpc-web', 'x-user-agent']);

/** Gives what ends it with that reason. A message that can't be written is thrown. */
export function startCall<I extends DescMessage, O extends DescMessage>(
  client: GrpcWebClientBase,
  { method, url, header, message, signal }: CallRequest<I, O>,
  events: CallEvents<O>,
): (reason: ConnectError) => void {
  // A call that is over before it has begun would not be ended by the listener below.
  signal.throwIfAborted();
  let answered = new Headers();
  let trailer: Headers | undefined;
  let unexplained: RpcError | undefined;
  let over = false;

  const call = client.serverStreaming(url, message, metadataOf(header), descriptorOf(method));
  const end = (reason: ConnectError | undefined): void => {
    if (over) return;
    over = true;
    signal.removeEventListener('abort', aborted);
    if (reason !== undefined) call.cancel();
    events.ended(reason, answered, trailer ?? new Headers());
  };
  const aborted = (): void => end(ConnectError.from(signal.reason, Code.Canceled));
  signal.addEventListener('abort', aborted);

  call.on('data', (received) => {
    if (!over) events.message(received.message, received.bytes);
  });
  call.on('metadata', (metadata) => {
    answered = headersOf(metadata);
  });
  call.on('status', ({ code, metadata }) => {
    if (code === 0) trailer = headersOf(metadata ?? {});
  });
  call.on('error', (error) => {
    if (error.message === unknownType) unexplained = error;
    else end(fromRpcFailure(error));
  });
  call.on('end', () => {
    if (unexplained !== undefined) end(fromRpcFailure(unexplained));
    else end(trailer === undefined ? brokenOff() : undefined);
  });
  return end;
}

function metadataOf(header: Headers): Metadata {
  const metadata: Metadata = {};
  header.forEach((value, name) => {
    if (!ownHeaders.has(name)) metadata[name] = value;
  });
  return metadata;
}

/** The client makes no message by its class and does nothing else by the kind of a call: those two are left empty. */
function descriptorOf<I extends DescMessage, O extends DescMessage>({
  parent,
  name,
  input,
  output,
}: DescMethodUnary<I, O> | DescMethodStreaming<I, O>): MethodDescriptor<MessageShape<I>, Received<O>> {
  return new MethodDescriptor<MessageShape<I>, Received<O>>(
    `/${parent.typeName}/${name}`,
    '',
    Object as never,
    Object as never,
    (message: MessageShape<I>) => toBinary(input, message),
    (bytes: Uint8Array): Received<O> => ({ message: fromBinary(output, bytes), bytes: bytes.length }),
  );
}
