// SPDX-License-Identifier: Apache-2.0
/**
 * gRPC-Web as text: the same frames in base64, for clients that read a stream by XMLHttpRequest, as the official one does.
 * Connect speaks the binary form; here what comes is decoded before it and what goes is encoded after it.
 *
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md: padding may stand wherever the sender has flushed, in both
 * directions. What goes out is padded after each piece, so that whoever has it can decode all of it at once.
 */
import { Code, ConnectError } from '@connectrpc/connect';
import type { UniversalHandlerFn, UniversalServerRequest, UniversalServerResponse } from '@connectrpc/connect/protocol';

/** Some browsers put "charset=utf-8" behind what they send as text. */
const textType = /^application\/grpc-web-text(?:\+proto)?\s*(?:;|$)/i;
const binaryType = 'application/grpc-web+proto';
const answerType = 'application/grpc-web-text+proto';

/** Of base64: four characters are three bytes. */
const quantum = 4;
/** Decoded and encoded at a time, so that no message stands in memory a second time as text. A multiple of 3 bytes. */
const pieceBytes = 48 << 10;

/** Answers a request by the handler, in text where the caller asks for that. Calls in other forms go through untouched. */
export async function handleWithText(
  handler: UniversalHandlerFn,
  request: UniversalServerRequest,
): Promise<UniversalServerResponse> {
  const type = request.header.get('content-type') ?? '';
  const sendsText = textType.test(type);
  const wantsText = sendsText || (isGrpcWeb(type) && acceptsText(request.header));
  if (!wantsText) return await handler(request);
  const answer = await handler(sendsText ? decoded(request) : request);
  // What was refused before it was a call (a type, a method) has no frames.
  if (answer.body === undefined || !isGrpcWeb(answer.header?.get('content-type') ?? '')) return answer;
  const header = new Headers(answer.header);
  header.set('content-type', answerType);
  return { ...answer, header, body: encodeBase64(answer.body) };
}

function isGrpcWeb(type: string): boolean {
  return /^application\/grpc-web(?:\+proto)?$/i.test(type);
}

/** A client that sends binary frames may still have to read text. */
function acceptsText(header: Headers): boolean {
  return (header.get('accept') ?? '').split(',').some((type) => textType.test(type.trim()));
}

function decoded(request: UniversalServerRequest): UniversalServerRequest {
  const header = new Headers(request.header);
  header.set('content-type', binaryType);
  return { ...request, header, body: decodeBase64(request.body as AsyncIterable<Uint8Array>) };
}

/**
 * Chunks of text as chunks of bytes; at most three characters wait for the next. Fails as ConnectError (INVALID_ARGUMENT)
 * where it is not base64.
 */
export async function* decodeBase64(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let waiting = '';
  let at = 0;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; from += pieceBytes) {
      const text = waiting + Buffer.from(chunk.subarray(from, from + pieceBytes)).toString('latin1');
      const whole = text.length - (text.length % quantum);
      waiting = text.slice(whole);
      yield* decodeQuanta(text.slice(0, whole), at);
      at += whole;
    }
  }
  if (waiting !== '') {
    throw bad(`ends after ${at + waiting.length} characters, which is no multiple of ${quantum}: pad it with "="`);
  }
}

/** at: where the text stands in the message. */
function* decodeQuanta(text: string, at: number): Generator<Uint8Array> {
  for (let from = 0; from < text.length; ) {
    const padding = text.indexOf('=', from);
    const to = padding === -1 ? text.length : padding - (padding % quantum) + quantum;
    const padded = text.slice(from, to);
    // Node's decoder leaves out what it does not know and stops at padding, so it is asked about neither.
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(padded)) {
      const wrong = padded.search(/[^A-Za-z0-9+/]/);
      throw bad(`has ${JSON.stringify(padded[wrong])} at character ${at + from + wrong}, which can't stand there`);
    }
    yield Buffer.from(padded, 'base64');
    from = to;
  }
}

/** Each chunk is padded, and can be decoded when it is there: Connect's chunks are whole frames. */
export async function* encodeBase64(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; from += pieceBytes) {
      yield Buffer.from(Buffer.from(chunk.subarray(from, from + pieceBytes)).toString('base64'), 'latin1');
    }
  }
}

function bad(what: string): ConnectError {
  return new ConnectError(`the request ${what}: expected base64 (RFC 4648, section 4)`, Code.InvalidArgument);
}
