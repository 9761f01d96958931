// SPDX-License-Identifier: Apache-2.0
/** One agent's API over one HTTP/2 connection. Every failure is an AgentError. */
import { connect as connectSocket } from 'node:net';
import { type Client, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { toAgentError } from './errors.js';
import type { Target } from './target.js';

export interface AgentClientOptions {
  /** Time to connect. Default 5,000. */
  readonly connectTimeoutMs?: number;
}

export interface AgentClient {
  readonly target: Target;
  readonly config: Client<typeof ConfigService>;
  readonly node: Client<typeof NodeService>;
  readonly traffic: Client<typeof TrafficService>;
  close(): void;
}

/** Room for the statistics of 10,000 services with 10 backends each. */
const readMaxBytes = 256 << 20;

export function createAgentClient(target: Target, options: AgentClientOptions = {}): AgentClient {
  const { connectTimeoutMs = 5_000 } = options;
  const baseUrl = 'http://localhost';
  const sessions = new Http2SessionManager(
    baseUrl,
    // A peer that vanished without a word is noticed while a watch waits.
    { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 },
    {
      createConnection() {
        const socket =
          target.kind === 'unix'
            ? connectSocket({ path: target.path })
            : connectSocket({ host: target.host, port: target.port, noDelay: true });
        const timer = setTimeout(
          () => socket.destroy(Object.assign(new Error('connect timed out'), { code: 'ETIMEDOUT' })),
          connectTimeoutMs,
        );
        socket.once('connect', () => clearTimeout(timer));
        socket.once('close', () => clearTimeout(timer));
        return socket;
      },
      settings: { initialWindowSize: 1 << 20 },
    },
  );
  const errors: Interceptor = (next) => async (request) => {
    try {
      const response = await next(request);
      return response.stream ? { ...response, message: translated(response.message, target) } : response;
    } catch (reason) {
      throw toAgentError(reason, target);
    }
  };
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: sessions,
    readMaxBytes,
    interceptors: [errors],
  });
  return {
    target,
    config: createClient(ConfigService, transport),
    node: createClient(NodeService, transport),
    traffic: createClient(TrafficService, transport),
    close: () => sessions.abort(),
  };
}

async function* translated<T>(messages: AsyncIterable<T>, target: Target): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (reason) {
    throw toAgentError(reason, target);
  }
}
