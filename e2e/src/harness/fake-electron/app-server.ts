// SPDX-License-Identifier: Apache-2.0
/**
 * What protocol.handle('app') answers, over HTTP/2, so that as many streams are open as a page likes, as under a scheme of its own.
 * Like Electron it gives a handler no signal: a page that goes away cancels the body of the answer.
 */
import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { constants, createSecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';

export type Handler = (request: Request) => Promise<Response> | Response;

export interface AppServer {
  readonly port: number;
  /** For Chromium's --ignore-certificate-errors-spki-list. */
  readonly spki: string;
  close(): void;
}

export interface AppServerOptions {
  /** Of this process alone. */
  readonly directory: string;
  /** undefined: nothing has been registered yet. */
  handler(): Handler | undefined;
  /** Whether the app lets the request go out at all. */
  mayBegin(url: string): boolean;
}

export async function serveApp({ directory, handler, mayBegin }: AppServerOptions): Promise<AppServer> {
  const [key, cert] = [path.join(directory, 'key.pem'), path.join(directory, 'cert.pem')];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'].concat([
      '-subj',
      '/CN=agent',
      '-addext',
      'subjectAltName=DNS:agent',
      '-keyout',
      key,
      '-out',
      cert,
    ]),
    { stdio: 'ignore' },
  );
  const pem = readFileSync(cert, 'utf8');
  const server = createSecureServer({ key: readFileSync(key), cert: pem });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    answer(stream, headers, handler(), mayBegin).catch(() => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
  });
  server.on('session', (session) => session.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const spki = createPublicKey(new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'pem' }));
  return {
    port: (server.address() as AddressInfo).port,
    spki: createHash('sha256')
      .update(spki.export({ type: 'spki', format: 'der' }))
      .digest('base64'),
    close: () => server.close(),
  };
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handler: Handler | undefined,
  mayBegin: (url: string) => boolean,
): Promise<void> {
  const url = `app://agent${headers[':path'] ?? '/'}`;
  if (handler === undefined || !mayBegin(url)) {
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  const method = headers[':method'] ?? 'GET';
  const isBodiless = method === 'GET' || method === 'HEAD';
  const given = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':') && value !== undefined) given.set(name, String(value));
  }
  const body = isBodiless ? null : (Readable.toWeb(stream) as unknown as NonNullable<RequestInit['body']>);
  const response = await handler(new Request(url, { method, headers: given, body, ...{ duplex: 'half' } }));
  if (stream.destroyed) {
    await response.body?.cancel();
    return;
  }
  stream.respond({ ':status': response.status, ...Object.fromEntries(response.headers) });
  if (response.body === null) {
    stream.end();
    return;
  }
  const pieces = Readable.fromWeb(response.body as ReadableStream);
  pieces.on('error', () => stream.close(constants.NGHTTP2_INTERNAL_ERROR));
  stream.on('close', () => pieces.destroy());
  pieces.pipe(stream);
}
