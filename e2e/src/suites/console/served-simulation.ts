// SPDX-License-Identifier: Apache-2.0
/**
 * Simulated agents as one real server: on a Unix socket, over HTTP/2, with "marcher-node" for the others, as an agent is reached by a
 * gateway. What is simulated nowhere else (the audit log) is made up here.
 */
import { createServer, type Http2Server } from 'node:http2';
import { create, type DescService } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import { type AgentCalls, AgentError } from '@marcher/client/fleet';
import type { Simulation } from '@marcher/client/testing';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditOutcome, AuditRecordSchema, AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService, ValidationFailureSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { handleWithText } from '../../../../agent/dist/adapters/inbound/grpc/grpc-web-text.js';

const SERVICES: readonly (readonly [keyof AgentCalls, DescService])[] = [
  ['observe', ObserveService],
  ['config', ConfigService],
  ['node', NodeService],
  ['traffic', TrafficService],
  ['mesh', MeshService],
  ['access', AccessService],
  ['certificates', CertificateService],
];
const CODES: Readonly<Record<string, Code>> = {
  invalid: Code.InvalidArgument,
  conflict: Code.Aborted,
  refused: Code.FailedPrecondition,
  denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  unavailable: Code.Unavailable,
  unimplemented: Code.Unimplemented,
};

export async function serveSimulation(simulation: Simulation, socket: string): Promise<Http2Server> {
  const of = (context: HandlerContext): AgentCalls => {
    const node = context.requestHeader.get('marcher-node');
    return node === null ? simulation.reach.entry : simulation.reach.node(node);
  };
  const router = createConnectRouter();
  routes(router, of);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  // As an agent's: beyond Node's own 10 MB streams are refused while many of them begin.
  const server = createServer({ maxSessionMemory: 64 }, (request, response) => {
    const handler = handlers.get(request.url);
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

type Call = (request: unknown, options: { readonly signal: AbortSignal }) => unknown;

function routes(router: ConnectRouter, of: (context: HandlerContext) => AgentCalls): void {
  for (const [key, service] of SERVICES) {
    const methods = Object.fromEntries(
      service.methods.map((method) => {
        const call = (request: unknown, context: HandlerContext): unknown => {
          const calls = of(context)[key] as unknown as Readonly<Record<string, Call>>;
          return calls[method.localName]?.(request, { signal: context.signal });
        };
        const unary = async (request: unknown, context: HandlerContext): Promise<unknown> => {
          try {
            return await call(request, context);
          } catch (error) {
            throw passedOn(error);
          }
        };
        const stream = async function* (request: unknown, context: HandlerContext): AsyncIterable<unknown> {
          try {
            yield* call(request, context) as AsyncIterable<unknown>;
          } catch (error) {
            throw passedOn(error);
          }
        };
        return [method.localName, method.methodKind === 'unary' ? unary : stream];
      }),
    );
    router.service(service, methods as never);
  }
  router.service(AuditService, {
    listAuditRecords: () => ({ records: records(), next: 0n }),
    verifyAudit: () => ({ records: 24n, sequence: 24n }),
  });
}

function passedOn(error: unknown): ConnectError {
  if (!(error instanceof AgentError)) return ConnectError.from(error);
  const said = new ConnectError(error.message, CODES[error.code] ?? Code.Unavailable);
  if (error.violations.length > 0) {
    said.details.push({ desc: ValidationFailureSchema, value: { violations: [...error.violations] } });
  }
  return said;
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
