// SPDX-License-Identifier: Apache-2.0
import { Code, ConnectError } from '@connectrpc/connect';
import type { UniversalHandlerFn, UniversalServerRequest } from '@connectrpc/connect/protocol';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBase64, encodeBase64, handleWithText } from './grpc-web-text.js';

async function* chunksOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text, 'latin1');
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('base64');

describe('what comes', () => {
  test('is decoded wherever it was cut, and wherever its sender has padded it', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), async (sent, cuts) => {
        const text = sent.map(base64).join('');
        const chunks: string[] = [];
        for (let at = 0, i = 0; at < text.length; i++) {
          const to = at + (cuts[i % cuts.length] ?? 1);
          chunks.push(text.slice(at, to));
          at = to;
        }
        expect(await whole(decodeBase64(chunksOf(...chunks)))).toEqual(Buffer.concat(sent));
      }),
      { numRuns: 300, seed: 32 },
    );
  });

  test('is handed on as it comes: of a chunk no more than three characters wait', async () => {
    const bytes = decodeBase64(chunksOf('aGVsbG8', 'gd29ybGQ='));
    expect((await bytes.next()).value).toEqual(Buffer.from('hel'));
    expect(await whole(bytes)).toEqual(Buffer.from('lo world'));
  });

  test('large chunks are decoded in pieces', async () => {
    const sent = Buffer.alloc(1_000_003, 'marcher');
    const sizes: number[] = [];
    for await (const piece of decodeBase64(chunksOf(base64(sent)))) sizes.push(piece.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(48 << 10);
    expect(sent.equals(await whole(decodeBase64(chunksOf(base64(sent)))))).toBe(true);
  });

  test.each([
    ['a character that is none', ['aGVs', 'bG\n='], /has "\\n" at character 6, which can't stand there/],
    ['the alphabet of URLs', ['aG_-'], /has "_" at character 2/],
    ['padding with something after it', ['aG=s'], /has "=" at character 2/],
    ['nothing but padding', ['aGVs===='], /has "=" at character 4/],
    ['three of padding', ['a==='], /has "=" at character 1/],
    ['an end in the midst', ['aGVsb', 'G8'], /ends after 7 characters, which is no multiple of 4/],
  ])('%s is refused, and where it stands is said', async (_what, texts, reason) => {
    const failure = await whole(decodeBase64(chunksOf(...texts))).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConnectError);
    expect(failure).toMatchObject({ code: Code.InvalidArgument, rawMessage: expect.stringMatching(reason) });
  });
});

describe('what goes', () => {
  test('can be decoded chunk by chunk when it is there', async () => {
    const sent = [Buffer.from('a'), Buffer.from('bc'), Buffer.alloc(100_000, 'x')];
    const got: Buffer[] = [];
    const source = async function* (): AsyncGenerator<Uint8Array> {
      yield* sent;
    };
    for await (const chunk of encodeBase64(source())) {
      const text = Buffer.from(chunk).toString('latin1');
      expect(text.length % 4).toBe(0);
      got.push(Buffer.from(text, 'base64'));
    }
    expect(got.slice(0, 2)).toEqual(sent.slice(0, 2));
    expect(Buffer.concat(got)).toEqual(Buffer.concat(sent));
  });

  test('a reader that goes away ends the source', async () => {
    let ended = false;
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield Buffer.from('frame');
      } finally {
        ended = true;
      }
    };
    const text = encodeBase64(source());
    await text.next();
    await text.return(undefined);
    expect(ended).toBe(true);
  });
});

describe('which form a call has', () => {
  const seen: { type: string | null; body: string }[] = [];
  const echo: UniversalHandlerFn = async (request) => {
    const body = await whole(request.body as AsyncIterable<Uint8Array>);
    const type = request.header.get('content-type');
    seen.push({ type, body: body.toString() });
    if (type === 'text/plain') return { status: 415 };
    return { status: 200, header: new Headers({ 'content-type': type ?? '' }), body: chunksOf('answer') };
  };
  const call = async (header: Record<string, string>, body: string) => {
    const request: UniversalServerRequest = {
      httpVersion: '2.0',
      url: 'http://localhost/',
      method: 'POST',
      header: new Headers(header),
      body: chunksOf(body),
      signal: new AbortController().signal,
    };
    const { status, header: answered, body: answer } = await handleWithText(echo, request);
    const text = answer === undefined ? undefined : (await whole(answer)).toString();
    return { seen: seen.pop(), status, type: answered?.get('content-type'), text };
  };
  const binary = 'application/grpc-web+proto';
  const text = 'application/grpc-web-text';

  test.each([
    ['text', { 'content-type': text, accept: text }, true, true],
    ['text, with its suffix', { 'content-type': `${text}+proto` }, true, true],
    ['text, with the charset of a browser', { 'content-type': `${text};charset=utf-8` }, true, true],
    ['binary, read as text', { 'content-type': binary, accept: `*/*;q=0.1, ${text}; q=1` }, false, true],
    ['binary', { 'content-type': binary, accept: binary }, false, false],
    ['gRPC, which has no text', { 'content-type': 'application/grpc', accept: text }, false, false],
  ])('%s', async (_what, header, sendsText, readsText) => {
    const answer = await call(header, sendsText ? base64('question') : 'question');
    const type = sendsText ? binary : header['content-type'];
    expect(answer.seen).toEqual({ type, body: 'question' });
    expect(answer.type).toBe(readsText ? 'application/grpc-web-text+proto' : type);
    expect(answer.text).toBe(readsText ? base64('answer') : 'answer');
  });

  test('what is no call at all is refused in no form', async () => {
    expect(await call({ 'content-type': 'text/plain', accept: text }, '')).toMatchObject({
      status: 415,
      text: undefined,
    });
  });
});
