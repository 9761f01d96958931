// SPDX-License-Identifier: Apache-2.0
/** One agent's API over one HTTP/2 connection. Every failure is an AgentError. */
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { Connection } from './connection.js';
import type { Credentials } from './credentials.js';
import { toAgentError } from './errors.js';
import type { AgentCalls } from './fleet/contract.js';
import type { Target } from './target.js';
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
  const others = new Map<string, AgentCalls>();
  return {
    target,
    ...callsBy(own, target),
    throughNode(nodeId) {
      const known = others.get(nodeId);
      if (known !== undefined) return known;
      const interceptors = [throughNode(nodeId, createClient(MeshService, own))];
      const calls = callsBy(createGrpcTransport({ ...grpc, interceptors }), target);
      if (others.size >= OTHERS_MAX) others.clear();
      others.set(nodeId, calls);
      return calls;
    },
    close: () => connection.close(),
  };
}

function callsBy(transport: Transport, target: Target): AgentCalls {
  const client = <S extends DescService>(service: S): Client<S> =>
    translating(service, createClient(service, transport), target);
  return {
    observe: client(ObserveService),
    config: client(ConfigService),
    node: client(NodeService),
    traffic: client(TrafficService),
    mesh: client(MeshService),
    audit: client(AuditService),
    access: client(AccessService),
    certificates: client(CertificateService),
  };
}

/**
 * The same client with failures as AgentError. Not an interceptor: transports turn whatever interceptors throw back into
 * a ConnectError.
 */
function translating<S extends DescService>(service: S, client: Client<S>, target: Target): Client<S> {
  const calls = client as Record<string, (...parameters: unknown[]) => unknown>;
  const translatedCalls: typeof calls = {};
  for (const { localName, methodKind } of service.methods) {
    const call = calls[localName];
    if (call === undefined) continue;
    translatedCalls[localName] = (...parameters) => {
      const result = call(...parameters);
      if (methodKind !== 'unary') return translated(result as AsyncIterable<unknown>, target);
      return (result as Promise<unknown>).catch((reason: unknown) => {
        throw toAgentError(reason, target);
      });
    };
  }
  return translatedCalls as Client<S>;
}

async function* translated<T>(messages: AsyncIterable<T>, target: Target): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (reason) {
    throw toAgentError(reason, target);
  }
}
