// SPDX-License-Identifier: Apache-2.0
/**
 * A Transport of Connect on the official gRPC-Web client: unary calls in the binary form, streams in text, which is what
 * XMLHttpRequest shows while it arrives. For browsers and for the renderer of the desktop console; nothing of Node.js.
 *
 * A browser keeps the whole text of a stream until that ends, and joins it anew with each piece. So streams are ended after
 * some MiB (StreamLimitReached), and whoever watches opens the next where that one was: watches have resume tokens.
 */
import type {
  DescMessage,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  type ContextValues,
  createContextValues,
  type Interceptor,
  type StreamResponse,
  type Transport,
  type UnaryResponse,
} from '@connectrpc/connect';
import { createMethodUrl, runStreamingCall, runUnaryCall } from '@connectrpc/connect/protocol';
import { requestHeader } from '@connectrpc/connect/protocol-grpc-web';
import { GrpcWebClientBase } from 'grpc-web';
import { StreamLimitReached } from '../stream-limit.js';
import { startCall } from './call.js';
import { MessageQueue } from './message-queue.js';

export interface GrpcWebTransportOptions {
  /** Before "/package.Service/Method"; may be relative to the page. */
  readonly baseUrl: string;
  readonly interceptors?: Interceptor[];
  /** Of calls that give none. Default: none. */
  readonly defaultTimeoutMs?: number;
  /** Largest message. Default 64 MiB. */
  readonly readMaxBytes?: number;
  /** What a stream may bring (as messages, not as text) before it is ended. Default 4 MiB. */
  readonly streamMaxBytes?: number;
  /** It is not ended before this time, however much it brings: the first state of a large mesh has to fit. Default 60,000. */
  readonly streamMinMs?: number;
}

/** What Headers is made of; the types of a browser have a name for it. */
type HeadersGiven = ConstructorParameters<typeof Headers>[0];

export function createGrpcWebTransport(options: GrpcWebTransportOptions): Transport {
  const {
    baseUrl,
    defaultTimeoutMs,
    readMaxBytes = 64 << 20,
    streamMaxBytes = 4 << 20,
    streamMinMs = 60_000,
  } = options;
  const unaryClient = new GrpcWebClientBase({ format: 'binary', maxReceiveMessageSize: readMaxBytes });
  const streamClient = new GrpcWebClientBase({ format: 'text', maxReceiveMessageSize: readMaxBytes });

  const about = (
    method: DescMethodUnary | DescMethodStreaming,
    timeoutMs: number | undefined,
    header: HeadersGiven,
  ) => ({
    service: method.parent,
    requestMethod: 'POST',
    url: createMethodUrl(baseUrl, method),
    header: requestHeader(true, timeoutMs, header, false),
  });
  const settings = (signal: AbortSignal | undefined, timeoutMs: number | undefined) => ({
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(options.interceptors === undefined ? {} : { interceptors: options.interceptors }),
  });
  /** As with Connect's own transports: 0 is none. */
  const timeoutOf = (timeoutMs: number | undefined): number | undefined => {
    const wanted = timeoutMs ?? defaultTimeoutMs;
    return wanted === undefined || wanted <= 0 ? undefined : wanted;
  };

  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersGiven,
      message: MessageInitShape<I>,
      contextValues: ContextValues = createContextValues(),
    ): Promise<UnaryResponse<I, O>> {
      const deadline = timeoutOf(timeoutMs);
      return await runUnaryCall<I, O>({
        ...settings(signal, deadline),
        req: { stream: false, method, ...about(method, deadline, header), contextValues, message },
        next: (request) =>
          new Promise((resolve, reject) => {
            const answers: MessageShape<O>[] = [];
            startCall(unaryClient, request, {
              message: (answer) => answers.push(answer),
              ended(reason, answered, trailer) {
                const [answer, ...more] = answers;
                if (reason !== undefined) reject(reason);
                else if (answer === undefined || more.length > 0) reject(notOne(answers.length));
                else {
                  const service = method.parent;
                  resolve({ stream: false, service, method, header: answered, message: answer, trailer });
                }
              },
            });
          }),
      });
    },

    async stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersGiven,
      input: AsyncIterable<MessageInitShape<I>>,
      contextValues: ContextValues = createContextValues(),
    ): Promise<StreamResponse<I, O>> {
      if (method.methodKind !== 'server_streaming') {
        throw new ConnectError(`${method.name} streams what is asked, which a browser can't`, Code.Unimplemented);
      }
      const deadline = timeoutOf(timeoutMs);
      return await runStreamingCall<I, O>({
        ...settings(signal, deadline),
        req: { stream: true, method, ...about(method, deadline, header), contextValues, message: input },
        async next(request) {
          const messages = new MessageQueue<MessageShape<O>>(readMaxBytes);
          // Filled when the stream ends: the client does not tell of headers before.
          const answered = new Headers();
          const trailer = new Headers();
          const begunMs = performance.now();
          let bytes = 0;
          const end = startCall(
            streamClient,
            { ...request, message: await only(request.message) },
            {
              message(message, size) {
                bytes += size;
                if (!messages.push(message, size)) end(behind(readMaxBytes));
                else if (bytes > streamMaxBytes && performance.now() - begunMs >= streamMinMs)
                  end(new StreamLimitReached(bytes));
              },
              ended(reason, headers, trailers) {
                for (const [name, value] of headers) answered.append(name, value);
                for (const [name, value] of trailers) trailer.append(name, value);
                messages.end(reason);
              },
            },
          );
          return { ...request, header: answered, trailer, message: messages };
        },
      });
    },
  };
}

async function only<T>(messages: AsyncIterable<T>): Promise<T> {
  for await (const message of messages) return message;
  throw new ConnectError('the call was made without a message', Code.InvalidArgument);
}

function notOne(answers: number): ConnectError {
  return new ConnectError(`the agent sent ${answers} answers: expected one`, Code.Internal);
}

function behind(waitingMaxBytes: number): ConnectError {
  const text = `this page is more than ${waitingMaxBytes} bytes behind what the agent sends: open the stream again`;
  return new ConnectError(text, Code.ResourceExhausted);
}
