// SPDX-License-Identifier: Apache-2.0
/** The official client replaced by its events; with itself, in a browser: the agent's grpc-web-browser.test.ts. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Code, type ConnectError } from '@connectrpc/connect';
import {
  ConfigService,
  type GetRequest,
  GetRequestSchema,
  GetResponseSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import type { GrpcWebClientBase, Metadata, MethodDescriptor } from 'grpc-web';
import { describe, expect, test } from 'vitest';
import { startCall } from './call.js';

type Listener = (event?: unknown) => void;

function started(header: Headers = new Headers(), signal: AbortSignal = new AbortController().signal) {
  const listeners = new Map<string, Listener>();
  const sent: { url: string; metadata: Metadata; message: GetRequest }[] = [];
  const seen = {
    messages: [] as unknown[],
    ends: [] as { reason: ConnectError | undefined; header: string[]; trailer: string[] }[],
    cancelled: 0,
    sent,
  };
  const client = {
    serverStreaming(
      url: string,
      message: GetRequest,
      metadata: Metadata,
      descriptor: MethodDescriptor<unknown, unknown>,
    ) {
      expect(url.endsWith(descriptor.getName())).toBe(true);
      sent.push({ url, metadata, message });
      return {
        on: (event: string, listener: Listener) => listeners.set(event, listener),
        cancel: () => seen.cancelled++,
      };
    },
  } as unknown as GrpcWebClientBase;
  const end = startCall(
    client,
    {
      method: ConfigService.method.get,
      url: '/agent/one/marcher.v1.ConfigService/Get',
      header,
      message: create(GetRequestSchema, { name: 'web' }),
      signal,
    },
    {
      message: (message) => seen.messages.push(message),
      ended: (reason, headers, trailers) =>
        seen.ends.push({ reason, header: [...headers.keys()], trailer: [...trailers.keys()] }),
    },
  );
  const say = (event: string, what?: unknown): void => listeners.get(event)?.(what);
  return { seen, say, end };
}

const message = create(GetResponseSchema, { version: 7n });
const data = { message, bytes: 2 };
const unknownType = { code: 2, message: 'Unknown Content-type received.', metadata: {} };

describe('a call ends once', () => {
  test('well, with what came before', () => {
    const { seen, say } = started();
    say('data', data);
    say('status', { code: 0, details: '', metadata: { 'x-trailer': 'a' } });
    say('metadata', { 'x-header': 'b' });
    say('end');
    expect(seen.messages).toEqual([message]);
    expect(seen.ends).toEqual([{ reason: undefined, header: ['x-header'], trailer: ['x-trailer'] }]);
    expect(seen.cancelled).toBe(0);
  });

  test('badly where the trailer says so, whatever follows', () => {
    const { seen, say } = started();
    say('error', { code: 5, message: 'there is none', metadata: {} });
    say('status', { code: 5, details: 'there is none' });
    say('metadata', {});
    say('end');
    say('data', data);
    expect(seen.ends).toMatchObject([{ reason: { code: Code.NotFound, rawMessage: 'there is none' } }]);
    expect(seen.messages).toEqual([]);
  });

  test('badly without a trailer: what came may not be all', () => {
    const { seen, say } = started();
    say('data', data);
    say('metadata', {});
    say('end');
    expect(seen.ends).toMatchObject([{ reason: { code: Code.Unavailable } }]);
  });

  test('with the status of HTTP, where an answer is a page of something else', () => {
    const { seen, say } = started();
    say('error', unknownType);
    say('error', unknownType);
    say('metadata', {});
    say('error', { code: 14, message: 'Http response at 400 or 500 level, http status code: 503', metadata: {} });
    expect(seen.ends).toMatchObject([{ reason: { code: Code.Unavailable, rawMessage: 'HTTP 503' } }]);
  });

  test('with that it is another type, where HTTP finds nothing wrong', () => {
    const { seen, say } = started();
    say('error', unknownType);
    say('metadata', {});
    say('end');
    expect(seen.ends).toMatchObject([{ reason: { code: Code.Unknown, rawMessage: unknownType.message } }]);
  });

  test('when its signal says so, and the request is given up', () => {
    const abort = new AbortController();
    const { seen, say } = started(new Headers(), abort.signal);
    abort.abort();
    say('data', data);
    expect(seen).toMatchObject({ cancelled: 1, messages: [], ends: [{ reason: { code: Code.Canceled } }] });
  });
});

test('a call whose signal is aborted before is not made', () => {
  expect(() => started(new Headers(), AbortSignal.abort(new Error('too late')))).toThrow('too late');
});

test('headers go with it, but for those that the client sets itself', () => {
  const header = new Headers({
    'Content-Type': 'application/grpc-web+proto',
    'X-Grpc-Web': '1',
    'Grpc-Timeout': '50m',
    'X-Own': 'a',
  });
  const [call] = started(header).seen.sent;
  expect(call?.metadata).toEqual({ 'grpc-timeout': '50m', 'x-own': 'a' });
  expect(
    fromBinary(GetRequestSchema, toBinary(GetRequestSchema, call?.message ?? create(GetRequestSchema))),
  ).toMatchObject({
    name: 'web',
  });
});
