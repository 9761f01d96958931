// SPDX-License-Identifier: Apache-2.0
/** The calls of one agent over any of Connect's transports, with failures as AgentErrors. Runs in browsers, too. */
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient, type Transport } from '@connectrpc/connect';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { type AgentError, agentErrorOf } from './agent-error.js';
import type { AgentCalls } from './fleet/contract.js';
import { observeClient } from './wire/observe-client.js';

export type Translate = (reason: unknown) => AgentError;

/** where names the agent in messages, such as "node a". */
export function agentCalls(
  transport: Transport,
  where: string,
  translate: Translate = (reason) => agentErrorOf(reason, where),
): AgentCalls {
  const calls = <S extends DescService>(service: S): Client<S> =>
    translating(service, createClient(service, transport), translate);
  return {
    observe: translating(ObserveService, observeClient(transport), translate),
    config: calls(ConfigService),
    node: calls(NodeService),
    traffic: calls(TrafficService),
    mesh: calls(MeshService),
    audit: calls(AuditService),
    access: calls(AccessService),
    certificates: calls(CertificateService),
  };
}

/** Not an interceptor: transports turn whatever interceptors throw back into a ConnectError. */
function translating<S extends DescService>(service: S, client: Client<S>, translate: Translate): Client<S> {
  const calls = client as Record<string, (...parameters: unknown[]) => unknown>;
  const translatedCalls: typeof calls = {};
  for (const { localName, methodKind } of service.methods) {
    const call = calls[localName];
    if (call === undefined) continue;
    translatedCalls[localName] = (...parameters) => {
      const result = call(...parameters);
      if (methodKind !== 'unary') return translated(result as AsyncIterable<unknown>, translate);
      return (result as Promise<unknown>).catch((reason: unknown) => {
        throw translate(reason);
      });
    };
  }
  return translatedCalls as Client<S>;
}

async function* translated<T>(messages: AsyncIterable<T>, translate: Translate): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (reason) {
    throw translate(reason);
  }
}
