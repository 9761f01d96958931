// SPDX-License-Identifier: Apache-2.0
/**
 * The console in a browser: serves the built renderer on loopback, and forwards its calls to the agent that was chosen.
 *
 *   GET  /…                              the renderer
 *   POST /session                        body: the token; answers with the cookie
 *   POST /agent/NODE/SERVICE/METHOD      a call; with "marcher-stream: CHANNEL/CALL" its answer goes down that channel
 *   POST /streams/CHANNEL                answers with the frames of the channel's calls, as long as the page is there
 *   POST /streams/CHANNEL/CALL/cancel
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { AgentError } from '@marcher/client';
import { type AgentDoor, type Answer, failedAnswer, giveUp } from '../entry/agent-door.js';
import { type CallPath, parseCallPath } from '../wire/call.js';
import { STREAM_HEADER } from '../wire/frames.js';
import { PAGE_HEADERS } from '../wire/page-policy.js';
import type { Assets } from './assets.js';
import { Channel } from './channel.js';
import { Door, type Refusal } from './door.js';

/** One for each page that is open. */
const CHANNELS_MAX = 32;
const TOKEN_MAX_BYTES = 1_024;
/** Where agents' calls are. */
const CALLS = '/agent/';
const CHANNEL = /^\/streams\/([0-9a-f-]{36})$/;
const CANCEL = /^\/streams\/([0-9a-f-]{36})\/(\d{1,10})\/cancel$/;
const STREAM = /^([0-9a-f-]{36})\/(\d{1,10})$/;

export interface GatewayOptions {
  readonly agents: AgentDoor;
  readonly assets: Assets;
  /** 0: any that is free. */
  readonly port: number;
}

export interface Gateway {
  /** With the token. */
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Listens on 127.0.0.1 alone. */
export async function startGateway({ agents, assets, port }: GatewayOptions): Promise<Gateway> {
  const server = createServer({ maxHeaderSize: 16_384, requestTimeout: 120_000 });
  await listening(server, port);
  const door = new Door((server.address() as AddressInfo).port);
  const requests = new Requests(agents, assets, door);
  server.on('request', (request, response) => {
    requests.take(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else plain(response, 500, (error as Error).message);
    });
  });
  return {
    address: door.address,
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listening(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      reject(taken ? new Error(`port ${port} of 127.0.0.1 is in use: choose another with --port`) : error);
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

class Requests {
  readonly #agents: AgentDoor;
  readonly #assets: Assets;
  readonly #door: Door;
  readonly #channels = new Map<string, Channel>();

  constructor(agents: AgentDoor, assets: Assets, door: Door) {
    this.#agents = agents;
    this.#assets = assets;
    this.#door = door;
  }

  async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const stranger = this.#door.stranger(request.headers);
    if (stranger !== undefined) return refuse(response, stranger);
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    if (request.method === 'GET' || request.method === 'HEAD') return this.#serve(pathname, request, response);
    if (request.method !== 'POST') return plain(response, 405, 'expected GET or POST');
    if (pathname === '/session') return await this.#admit(request, response);
    const unknown = this.#door.unknown(request.headers);
    if (unknown !== undefined) return refuse(response, unknown);
    const channel = CHANNEL.exec(pathname)?.[1];
    if (channel !== undefined) return this.#openChannel(channel, response);
    const [, of, cancelled] = CANCEL.exec(pathname) ?? [];
    if (of !== undefined) {
      this.#channels.get(of)?.cancel(Number(cancelled));
      response.writeHead(204).end();
      return;
    }
    const call = pathname.startsWith(CALLS) ? parseCallPath(pathname.slice(CALLS.length - 1)) : undefined;
    if (call === undefined) return plain(response, 404, 'there is nothing here');
    const stream = request.headers[STREAM_HEADER];
    if (stream === undefined) await this.#forward(call, request, response);
    else await this.#stream(call, String(stream), request, response);
  }

  #serve(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    const found = this.#assets.find(pathname, request.headers);
    if (found === undefined) {
      plain(response, 404, 'there is nothing here');
      return;
    }
    response.writeHead(200, found.headers);
    response.end(request.method === 'HEAD' ? undefined : found.body);
  }

  async #admit(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let token = '';
    for await (const piece of request.setEncoding('utf8')) {
      token += piece;
      if (token.length > TOKEN_MAX_BYTES) return plain(response, 413, 'that is no token');
    }
    const cookie = this.#door.admit(token);
    if (cookie === undefined) return plain(response, 401, 'that is not the token of this gateway: it was started anew');
    response.writeHead(204, { 'set-cookie': cookie, 'cache-control': 'no-store' }).end();
  }

  #openChannel(name: string, response: ServerResponse): void {
    if (this.#channels.has(name)) {
      plain(response, 409, 'the channel is open');
      return;
    }
    if (this.#channels.size >= CHANNELS_MAX) {
      plain(response, 503, `${CHANNELS_MAX} pages are open, which is the most: close one`);
      return;
    }
    this.#channels.set(name, new Channel(response));
    response.on('close', () => this.#channels.delete(name));
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' });
    response.flushHeaders();
  }

  async #forward(call: CallPath, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let stream: ClientHttp2Stream | undefined;
    response.on('close', () => giveUp(stream));
    let answer: Answer;
    try {
      stream = await this.#agents.open(call, request.headers);
      if (response.destroyed) return giveUp(stream);
      // An agent may answer before it has read everything.
      void pipeline(request, stream, { end: true }).catch(() => undefined);
      answer = await this.#agents.answer(stream);
    } catch (error) {
      response.writeHead(200, { ...failedAnswer(asAgentError(error)), 'cache-control': 'no-store' }).end();
      return;
    }
    response.writeHead(answer.status, {
      ...answer.headers,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    response.flushHeaders();
    // A body that breaks is one that does not end: the page sees it.
    await pipeline(answer.body, response).catch(() => response.destroy());
  }

  async #stream(call: CallPath, where: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, name = '', digits] = STREAM.exec(where) ?? [];
    const channel = this.#channels.get(name);
    const number = Number(digits);
    if (channel === undefined || !channel.begin(number)) return plain(response, 409, 'there is no such channel');
    try {
      const stream = await this.#agents.open(call, request.headers);
      channel.attach(number, stream);
      void pipeline(request, stream, { end: true }).catch(() => undefined);
      response.writeHead(202, { 'cache-control': 'no-store' }).end();
      const { status, headers, body } = await this.#agents.answer(stream);
      channel.head(number, { status, headers: Object.entries(headers).map(([key, value]) => [key, String(value)]) });
      channel.pour(number, body);
    } catch (error) {
      if (!response.headersSent) response.writeHead(202).end();
      const headers = Object.entries(failedAnswer(asAgentError(error)));
      channel.head(number, { status: 200, headers: headers.map(([key, value]) => [key, String(value)]) });
      channel.end(number);
    }
  }
}

function asAgentError(error: unknown): AgentError {
  return error instanceof AgentError ? error : new AgentError('unavailable', (error as Error).message, [], error);
}

function refuse(response: ServerResponse, { status, reason }: Refusal): void {
  plain(response, status, reason);
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { ...PAGE_HEADERS, 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
}
