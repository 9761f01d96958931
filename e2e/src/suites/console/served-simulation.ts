// SPDX-License-Identifier: Apache-2.0
/**
 * Simulated agents as one real server: on a Unix socket, over HTTP/2, with "marcher-node" for the others, as an agent is reached by a
 * gateway. What is simulated nowhere else (certificates, the audit log, clusters) is made up here.
 */
import { createServer, type Http2Server } from 'node:http2';
import { create, type DescService } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import { type AgentCalls, AgentError } from '@marcher/client/fleet';
import type { Simulation } from '@marcher/client/testing';
import { AuditOutcome, AuditRecordSchema, AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import {
  CertificateSchema,
  CertificateService,
  CertificateSource,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService, ValidationFailureSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { ClusterSchema, MemberState, MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { handleWithText } from '../../../../agent/dist/adapters/inbound/grpc/grpc-web-text.js';

const DAY_MS = 86_400_000;
const SERVICES: readonly (readonly [keyof AgentCalls, DescService])[] = [
  ['observe', ObserveService],
  ['config', ConfigService],
  ['node', NodeService],
  ['traffic', TrafficService],
  ['mesh', MeshService],
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
  routes(router, of, simulation);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const server = createServer((request, response) => {
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

function routes(router: ConnectRouter, of: (context: HandlerContext) => AgentCalls, simulation: Simulation): void {
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
    if (service === MeshService) methods['listClusters'] = async () => ({ clusters: clusters(simulation) });
    router.service(service, methods as never);
  }
  router.service(CertificateService, { listCertificates: () => ({ certificates: certificates() }) });
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

function clusters({ agents }: Simulation) {
  const nodes = agents.map(({ id, name }) => ({ nodeId: id, name, state: MemberState.ALIVE }));
  const made = { created: timestampFromMs(Date.now() - 9 * DAY_MS), createdBy: 'root (uid 0)' };
  return [
    create(ClusterSchema, { name: 'eu', nodes: nodes.slice(0, 2), objects: 4n, ...made }),
    create(ClusterSchema, { name: 'us', nodes: nodes.slice(2, 3), ...made }),
  ];
}

function certificates() {
  const now = Date.now();
  const one = (name: string, days: number, extra: object = {}) =>
    create(CertificateSchema, {
      name,
      source: CertificateSource.ISSUED,
      names: [`${name}.example.net`],
      notBefore: timestampFromMs(now - 30 * DAY_MS),
      notAfter: timestampFromMs(now + days * DAY_MS),
      renews: timestampFromMs(now + (days / 2) * DAY_MS),
      serial: '4f1d0c7a2b',
      fingerprint: 'ab'.repeat(32),
      issuer: 'O=simulated, CN=Marcher mesh CA 0123456789abcdef',
      keyType: 'EC secp384r1',
      written: timestampFromMs(now - 30 * DAY_MS),
      writtenBy: 'root (uid 0)',
      keyAvailable: true,
      ...extra,
    });
  const imported = { source: CertificateSource.IMPORTED, renews: undefined, keyType: 'RSA 2048' };
  return [
    one('web', 320),
    one('api', 190),
    one('legacy', 12, imported),
    one('old', 90, { revoked: timestampFromMs(now - DAY_MS) }),
  ];
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
