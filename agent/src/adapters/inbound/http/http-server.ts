// SPDX-License-Identifier: Apache-2.0
/**
 * /healthz, /readyz and /metrics over plain HTTP/1.1, on loopback unless another address is asked for: nothing here
 * changes anything, but metrics tell names and addresses.
 *
 * healthz: 200 as long as the process turns. readyz: 200, or 503 with the conditions that stand against it.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { UseCases } from '../../../ports/use-cases.js';
import { Metrics } from './metrics.js';

export interface HttpServerOptions {
  readonly useCases: UseCases;
  /** IPv4 or IPv6 literal, or a name. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly logger: {
    info(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export interface HttpServer {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Where it is bound, once started. */
  readonly address: { readonly host: string; readonly port: number } | undefined;
}

/** One scrape at a time: another one waits no longer than it would for its own turn, and gets a 503. */
const scrapesMax = 2;

export function createHttpServer({ useCases, host, port, logger }: HttpServerOptions): HttpServer {
  const metrics = new Metrics(useCases);
  // The agent's own process: CPU, memory, file descriptors, event loop, garbage collection.
  const process = new Registry();
  // The default precision of 10 ms wakes an idle agent a hundred times per second.
  collectDefaultMetrics({ register: process, prefix: 'marcher_agent_', eventLoopMonitoringPrecision: 100 });
  // Some of prom-client's gauges are named as counters are, which promtool objects to; each is there without _total, too.
  for (const { name, type } of process.getMetricsAsArray() as { name: string; type: unknown }[]) {
    if (type === 'gauge' && name.endsWith('_total')) process.removeSingleMetric(name);
  }
  let scrapes = 0;
  let address: { host: string; port: number } | undefined;

  const scrape = async (response: ServerResponse): Promise<void> => {
    if (scrapes >= scrapesMax) {
      answer(response, 503, 'text/plain; charset=utf-8', `${scrapesMax} scrapes are under way: scrape less often\n`);
      return;
    }
    scrapes++;
    try {
      response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
      for await (const piece of metrics.text()) {
        if (response.destroyed) return;
        if (!response.write(piece)) await writable(response);
      }
      response.end((await process.metrics()).replace(/\n{2,}/g, '\n'));
    } finally {
      scrapes--;
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '').split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      answer(response, 405, 'text/plain; charset=utf-8', 'only GET and HEAD are served here\n');
    } else if (path === '/healthz') {
      answer(response, 200, 'text/plain; charset=utf-8', 'ok\n');
    } else if (path === '/readyz') {
      const conditions = useCases.node.unreadiness().map(({ type, reason, message }) => ({ type, reason, message }));
      const ready = conditions.length === 0;
      answer(response, ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, conditions })}\n`);
    } else if (path === '/metrics') {
      if (request.method === 'HEAD') answer(response, 200, 'text/plain; version=0.0.4; charset=utf-8', '');
      else await scrape(response);
    } else {
      answer(response, 404, 'text/plain; charset=utf-8', 'here are /healthz, /readyz and /metrics\n');
    }
  };

  const server: Server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 30_000, maxHeaderSize: 8 * 1024 },
    (request, response) => {
      request.resume();
      handle(request, response).catch((error: unknown) => {
        logger.error(
          { path: request.url, error: error instanceof Error ? error.stack : String(error) },
          'HTTP request failed',
        );
        if (response.headersSent) response.destroy();
        else answer(response, 500, 'text/plain; charset=utf-8', "internal error: the agent's log has the details\n");
      });
    },
  );
  server.maxConnections = 64;

  return {
    get address() {
      return address;
    },
    async start() {
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error: NodeJS.ErrnoException) => {
          const why =
            error.code === 'EADDRINUSE' ? 'another process has the port; choose another with --metrics' : error.message;
          reject(new Error(`health and metrics can't listen on ${host}:${port}: ${why}`));
        });
        server.listen({ host, port }, resolve);
      });
      server.removeAllListeners('error');
      server.on('error', (error) => logger.error({ error: error.message }, 'HTTP listener failed'));
      const bound = server.address() as AddressInfo;
      address = { host: bound.address, port: bound.port };
      logger.info(address, 'health and metrics are served');
    },
    async stop() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Until the response takes more, or is over. */
function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(body);
}
