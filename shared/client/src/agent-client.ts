// SPDX-License-Identifier: Apache-2.0
/** One agent's API over one HTTP/2 connection. Every failure is an AgentError. */
import { createClient, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { agentCalls } from './agent-calls.js';
import { Connection } from './connection.js';
import type { Credentials } from './credentials.js';
import { toAgentError } from './errors.js';
import type { AgentCalls } from './fleet/contract.js';
import { formatTarget, type Target } from './target.js';
import { throughNode } from './through-node.js';
import type { Tunnels } from './tunnels.js';

export interface AgentClientOptions {
  /** Time to connect. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** For targets of https://. */
  readonly credentials?: Credentials;
  /** For targets of ssh://: shared with others, and closed by whoever made them. Default: own ones, which ask nobody. */
  readonly tunnels?: Tunnels;
}

export interface AgentClient extends AgentCalls {
  readonly target: Target;
  /**
   * The calls of another member, which this agent passes on to it over the same connection: what reads, Drain, Undrain, and
   * the audit log's list and verification. nodeId: 16 hex digits. The same object each time.
   */
  throughNode(nodeId: string): AgentCalls;
  close(): void;
}

/** Room for the statistics of 10,000 services with 10 backends each. */
const readMaxBytes = 256 << 20;

/** Members whose calls are kept, which know that they are passed on: more than a console observes. */
const OTHERS_MAX = 4_096;

export function createAgentClient(target: Target, options: AgentClientOptions = {}): AgentClient {
  const { connectTimeoutMs = 5_000, credentials, tunnels } = options;
  const connection = new Connection(target, connectTimeoutMs, credentials, tunnels);
  const grpc = { baseUrl: connection.authority, sessionManager: connection, readMaxBytes };
  const own = createGrpcTransport(grpc);
  const callsBy = (transport: Transport): AgentCalls =>
    agentCalls(transport, formatTarget(target), (reason) => toAgentError(reason, target));
  const others = new Map<string, AgentCalls>();
  return {
    target,
    ...callsBy(own),
    throughNode(nodeId) {
      const known = others.get(nodeId);
      if (known !== undefined) return known;
      const interceptors = [throughNode(nodeId, createClient(MeshService, own))];
      const calls = callsBy(createGrpcTransport({ ...grpc, interceptors }));
      if (others.size >= OTHERS_MAX) others.clear();
      others.set(nodeId, calls);
      return calls;
    },
    close: () => connection.close(),
  };
}
