// SPDX-License-Identifier: Apache-2.0
/**
 * Simulated agents as one real server: on a Unix socket, over HTTP/2, with "marcher-node" for the others, as an agent is reached by a
 * gateway. What is simulated nowhere else (the audit log) is made up here.
 */
import { createServer, type Http2Server } from 'node:http2';
import { create, type DescService } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { SimulatedAgent, Simulation } from '@marcher/client/testing';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditOutcome, AuditRecordSchema, AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { handleWithText } from '../../../../agent/dist/adapters/inbound/grpc/grpc-web-text.js';

const SERVICES: readonly DescService[] = [
  ObserveService,
  ConfigService,
  NodeService,
  TrafficService,
  MeshService,
  AccessService,
  CertificateService,
  AuditService,
];
type Handlers = ReadonlyMap<string, UniversalHandler>;

export async function serveSimulation(simulation: Simulation, socket: string): Promise<Http2Server> {
  const stranger = handlersOf(strangers);
  const known = new WeakMap<SimulatedAgent, Handlers>();
  const handlersAt = (nodeId: string): Handlers => {
    const agent = simulation.agents.find(({ id }) => id === nodeId);
    if (agent === undefined) return stranger;
    let handlers = known.get(agent);
    if (handlers === undefined) {
      handlers = handlersOf((router) => {
        simulation.routes(router, agent);
        audit(router);
      });
      known.set(agent, handlers);
    }
    return handlers;
  };
  // As an agent's: beyond Node's own 10 MB streams are refused while many of them begin.
  const server = createServer({ maxSessionMemory: 64 }, (request, response) => {
    const node = request.headers['marcher-node'];
    const handler = handlersAt(typeof node === 'string' ? node : simulation.entry.id).get(request.url);
    if (handler === undefined) {
      response.writeHead(404).end();
      return;
    }
    const call = universalRequestFromNodeRequest(request, response, undefined, undefined);
    // The desktop's client reads streams as text.
    handleWithText(handler, call)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return server;
}

function handlersOf(routes: (router: ConnectRouter) => void): Handlers {
  const router = createConnectRouter();
  routes(router);
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

/** Of a node that is no member: every call fails. */
function strangers(router: ConnectRouter): void {
  const refuse = (_: unknown, { requestHeader }: HandlerContext): never => {
    throw new ConnectError(`there is no member ${requestHeader.get('marcher-node')}`, Code.NotFound);
  };
  for (const service of SERVICES)
    router.service(service, Object.fromEntries(service.methods.map(({ localName }) => [localName, refuse])) as never);
}

function audit(router: ConnectRouter): void {
  router.service(AuditService, {
    listAuditRecords: () => ({ records: records(), next: 0n }),
    verifyAudit: () => ({ records: 24n, sequence: 24n }),
  });
}

function records() {
  return Array.from({ length: 24 }, (_, i) =>
    create(AuditRecordSchema, {
      sequence: BigInt(24 - i),
      time: timestampFromMs(Date.now() - i * 3_600_000),
      action: i % 5 === 3 ? 'marcher.v1.NodeService/Drain' : 'marcher.v1.ConfigService/Apply',
      actor: i % 4 === 0 ? 'user:alice' : 'root (uid 0)',
      via: i % 4 === 0 ? 'session' : 'socket',
      source: i % 4 === 0 ? '192.0.2.17' : '',
      outcome: i % 7 === 5 ? AuditOutcome.DENIED : AuditOutcome.DONE,
      objects: [`Service/service-000${i % 8}`],
      version: BigInt(24 - i),
      message: i % 3 === 0 ? 'more backends for the evening' : '',
    }),
  );
}
