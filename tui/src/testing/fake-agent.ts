// SPDX-License-Identifier: Apache-2.0
/** An agent's API over a Unix socket with a configuration in memory, for tests of the real command line. */
import { createServer, type ServerHttp2Session } from 'node:http2';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import {
  type Change,
  ConfigService,
  type ObjectDiff,
  ObjectDiffSchema,
  Operation,
  ValidationFailureSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import type { Object$, ObjectKey, Service } from '@marcher/proto/marcher/v1/model_pb';
import { Health, NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { LogKind, TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';

export interface FakeAgent {
  readonly services: Map<string, Service>;
  /** "Guard/edge" */
  readonly objects: Map<string, Object$>;
  readonly calls: string[];
  version: bigint;
  /** Thrown by every Apply when set. */
  failure: ConnectError | undefined;
  /** Called before every Plan: somebody else may change something then. */
  beforePlan: () => void;
  /** What other nodes of its mesh acknowledge. */
  acks: number;
  /** Connections to each backend that other nodes have open; undefined: its service does not ask. */
  elsewhere: bigint | undefined;
  close(): Promise<void>;
}

const time = timestampFromMs(Date.UTC(2026, 0, 2, 3, 4, 5));

export function violationError(code: Code, message: string, path: string): ConnectError {
  const value = { violations: [{ path, reason: 'it is wrong', fix: 'write it right' }] };
  return new ConnectError(message, code, undefined, [{ desc: ValidationFailureSchema, value }]);
}

export async function startFakeAgent(path: string): Promise<FakeAgent> {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  const agent: FakeAgent = {
    services: new Map(),
    objects: new Map(),
    calls: [],
    version: 0n,
    failure: undefined,
    beforePlan: () => undefined,
    acks: 0,
    elsewhere: undefined,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
  const diff = (upsert: Service[], remove: string[], replaceAll: boolean): ObjectDiff[] => {
    const entry = (name: string, operation: Operation): ObjectDiff =>
      create(ObjectDiffSchema, {
        kind: 'Service',
        name,
        operation,
        fields: operation === Operation.UPDATE ? [{ path: 'backends[0].weight', before: '1', after: '2' }] : [],
      });
    const text = (service: Service | undefined): string => JSON.stringify(service?.backends);
    const named = new Set(upsert.map(({ name }) => name));
    const gone = replaceAll ? [...agent.services.keys()].filter((name) => !named.has(name)) : remove;
    return [
      ...upsert
        .filter((service) => text(agent.services.get(service.name)) !== text(service))
        .map(({ name }) => entry(name, agent.services.has(name) ? Operation.UPDATE : Operation.CREATE)),
      ...gone.map((name) => entry(name, Operation.DELETE)),
    ];
  };
  const keyOf = ({ object }: Object$): string =>
    `${object.case === 'guard' ? 'Guard' : 'TrafficPolicy'}/${object.value?.name}`;
  const json = (object: Object$ | undefined): string =>
    JSON.stringify(object, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  const objectDiff = (upsert: Object$[], remove: ObjectKey[], replaceAll: boolean): ObjectDiff[] => {
    const entry = (key: string, operation: Operation): ObjectDiff => {
      const [kind, name] = key.split('/');
      return create(ObjectDiffSchema, { kind: kind ?? '', name: name ?? '', operation });
    };
    const named = new Set(upsert.map(keyOf));
    const gone = replaceAll
      ? [...agent.objects.keys()].filter((key) => !named.has(key))
      : remove.map(({ kind, name }) => `${kind}/${name}`);
    return [
      ...upsert
        .filter((object) => json(agent.objects.get(keyOf(object))) !== json(object))
        .map((object) => entry(keyOf(object), agent.objects.has(keyOf(object)) ? Operation.UPDATE : Operation.CREATE)),
      ...gone.map((key) => entry(key, Operation.DELETE)),
    ];
  };
  const allDiffs = (change: Change | undefined): ObjectDiff[] => [
    ...objectDiff(change?.upsertObjects ?? [], change?.removeObjects ?? [], change?.replaceAll ?? false),
    ...diff(change?.upsert ?? [], change?.remove ?? [], change?.replaceAll ?? false),
  ];
  const objectResource = (object: Object$) => ({
    object,
    generation: agent.version,
    conditions: [{ type: 'Accepted', status: true, reason: 'Accepted', message: '' }],
  });
  const resource = (service: Service) => ({
    service,
    generation: agent.version,
    conditions: [
      { type: 'Programmed', status: true, reason: 'Programmed', message: '', observedGeneration: agent.version },
    ],
  });

  const routes = (router: ConnectRouter): void => {
    router.service(ConfigService, {
      plan({ change }) {
        agent.beforePlan();
        return { version: agent.version, diffs: allDiffs(change) };
      },
      apply({ change, expectedVersion, omitDiff, message, minAcks, ackTimeoutMs }) {
        agent.calls.push(`apply ${message}${minAcks === 0 ? '' : ` acks ${minAcks} in ${ackTimeoutMs} ms`}`);
        if (agent.failure !== undefined) throw agent.failure;
        if (expectedVersion !== 0n && expectedVersion !== agent.version) {
          throw new ConnectError(`the version is ${agent.version}`, Code.Aborted);
        }
        const diffs = allDiffs(change);
        for (const service of change?.upsert ?? []) agent.services.set(service.name, service);
        for (const object of change?.upsertObjects ?? []) agent.objects.set(keyOf(object), object);
        for (const { kind, name, operation } of diffs) {
          if (operation !== Operation.DELETE) continue;
          if (kind === 'Service') agent.services.delete(name);
          else agent.objects.delete(`${kind}/${name}`);
        }
        if (diffs.length > 0) agent.version++;
        const acks = Math.min(agent.acks, minAcks);
        return { version: agent.version, changed: diffs.length > 0, diffs: omitDiff ? [] : diffs, acks };
      },
      get({ name }) {
        const service = agent.services.get(name);
        if (service === undefined) throw new ConnectError(`there is no service "${name}"`, Code.NotFound);
        return { resource: resource(service), version: agent.version };
      },
      list({ pageSize, pageToken }) {
        const all = [...agent.services.values()];
        const start = Number(pageToken || 0);
        const next = start + (pageSize || 500);
        return {
          resources: all.slice(start, next).map(resource),
          nextPageToken: next < all.length ? String(next) : '',
          version: agent.version,
          total: BigInt(all.length),
        };
      },
      listObjects: ({ kind, name }) => ({
        resources: [...agent.objects]
          .filter(([key, { object }]) => {
            return (kind === '' || key.startsWith(`${kind}/`)) && (name === '' || object.value?.name === name);
          })
          .map(([, object]) => objectResource(object)),
        version: agent.version,
      }),
      async *watch(_request, { signal }) {
        for (const object of agent.objects.values()) {
          yield { event: { case: 'upsertObject', value: objectResource(object) } };
        }
        for (const service of agent.services.values()) yield { event: { case: 'upsert', value: resource(service) } };
        yield { event: { case: 'synced', value: {} }, version: agent.version };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
      history: () => ({
        revisions: [{ version: 1n, time, author: 'root (uid 0)', origin: 'api', message: 'first', created: 1 }],
      }),
      revert({ version }) {
        if (version > agent.version) throw new ConnectError(`there is no version ${version}`, Code.NotFound);
        agent.version++;
        return { version: agent.version, diffs: [] };
      },
    });
    router.service(NodeService, {
      status: ({ withTraffic }) => ({
        nodeName: 'north',
        version: '9.9.9',
        ready: true,
        pid: 1,
        engine: { running: true, workers: 2 },
        xdpInterfaces: [
          { name: 'eth0', mode: 'native', decapsulation: 'xdp' },
          { name: 'eth1', mode: '', reason: 'there is no such interface' },
        ],
        traffic: withTraffic
          ? [
              { tier: 'xdp', services: 1, packets: 12n, bytes: 3_072n },
              { tier: 'relay', services: 2, packets: 5n, bytes: 1_024n, bytesReturned: 4_096n },
            ]
          : [],
        xdpDrops: withTraffic ? [{ reason: 'no-backend', packets: 3n }, { reason: 'truncated' }] : [],
      }),
      tiers: ({ service }) => ({
        services: [{ service, tier: 'relay', reasons: ['nothing faster is there'], xdpPackets: 4n, xdpBytes: 2_048n }],
      }),
      drain({ service, backend }) {
        agent.calls.push(`drain ${service}/${backend}`);
        return { connections: 2n };
      },
      undrain({ service, backend }) {
        agent.calls.push(`undrain ${service}/${backend}`);
        return {};
      },
      backends: ({ service }) => ({
        backends: [...agent.services.values()]
          .filter(({ name }) => service === '' || name === service)
          .flatMap(({ name, backends }) =>
            backends.map(({ address }) => ({
              service: name,
              backend: address,
              weight: 1,
              endpoints: [{ address, health: Health.HEALTHY }],
              ...(agent.elsewhere === undefined ? {} : { elsewhere: agent.elsewhere }),
            })),
          ),
      }),
    });
    router.service(TrafficService, {
      async *stats({ intervalMs }, { signal }) {
        for (let round = 1n; !signal.aborted; round++) {
          yield {
            time: timestampFromMs(Date.UTC(2026, 0, 1) + Number(round) * 1000),
            services: [{ service: 'web', counters: { connectionsOpened: round * 10n, bytesSent: round * 4096n } }],
          };
          if (intervalMs === 0) return;
          await new Promise((resolve) => setTimeout(resolve, intervalMs));
        }
      },
      listConnections: () => ({
        connections: [{ id: 1n, service: 'web', client: '10.0.0.9:1234', state: 'established' }],
        total: 1n,
      }),
      async *logs({ service, follow }, { signal }) {
        // The bell and the escape are what a hostile name could carry.
        yield {
          entry: { time, kind: LogKind.CONNECTION_CLOSED, service, reason: 'closed', message: 'evil\u001b[31m\u0007' },
        };
        if (follow) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
  };
  server.on('request', connectNodeAdapter({ routes, readMaxBytes: 64 << 20 }));
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return agent;
}
