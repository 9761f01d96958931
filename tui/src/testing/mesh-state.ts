// SPDX-License-Identifier: Apache-2.0
/** States of meshes as the client makes them, from a few numbers: for tests of the console, and for measuring it. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type {
  BackendView,
  FleetState,
  Flow,
  Link,
  NodeView,
  ObjectOnNode,
  ObjectView,
  ServiceView,
} from '@marcher/client/fleet';
import { MemberSchema, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { Algorithm, ObjectSchema, Protocol, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import {
  BackendStatusSchema,
  Health,
  ServiceTierSchema,
  StatusResponseSchema,
} from '@marcher/proto/marcher/v1/node_service_pb';

export const NOW_MS = Date.UTC(2026, 10, 22, 12, 0, 0);

export interface MeshShape {
  readonly nodes: number;
  readonly services: number;
  /** Of each service. */
  readonly backends: number;
}

export const NO_FLOW: Flow = {
  ...{ open: 0, connections: 0, failures: 0 },
  ...{ bytesReceived: 0, bytesSent: 0, packetsReceived: 0, packetsSent: 0 },
};

export function flow(open: number, bytes = 0): Flow {
  return { ...NO_FLOW, open, bytesReceived: bytes, bytesSent: bytes * 2, connections: open / 10 };
}

export const nodeKey = (index: number): string => index.toString(16).padStart(16, '0');
export const nodeName = (index: number): string => `node${String(index + 1).padStart(2, '0')}`;
export const serviceName = (index: number): string => `web-${String(index).padStart(4, '0')}`;

/** All is well, and nothing moves. */
export function meshState({ nodes, services, backends }: MeshShape): FleetState {
  const nodeViews = new Map(range(nodes, (index) => nodeOf(index, services)).map((view) => [view.key, view]));
  const keys = [...nodeViews.keys()];
  const serviceViews = new Map(
    range(services, (index) => serviceOf(index, backends, keys)).map((view) => [view.name, view]),
  );
  const backendViews = new Map(
    range(services, (index) => range(backends, (nth) => backendOf(serviceName(index), `b${nth}`, keys)))
      .flat()
      .map((view) => [view.key, view]),
  );
  return {
    ...{ revision: 1, atMs: NOW_MS, mesh: { id: 'ab'.repeat(16), name: 'prod' }, configurations: 1, paused: false },
    coverage: { nodes, live: nodes, stale: 0, refused: 0, connecting: 0, oldestMs: undefined },
    ...{
      nodes: nodeViews,
      services: serviceViews,
      backends: backendViews,
      objects: new Map([['TrafficPolicy/gold', policyOf(keys)]]),
    },
    ...{ flow: flow(10 * nodes, 1_000_000), history: [flow(1, 10), flow(5, 500), flow(10, 1_000)] },
  };
}

function nodeOf(index: number, services: number): NodeView {
  const name = nodeName(index);
  return {
    ...{ key: nodeKey(index), name, isEntry: index === 0, version: 7n, history: [], flow: flow(10, 2_048) },
    ...{
      link: { kind: 'live', sinceMs: NOW_MS - 60_000 },
      heardMs: NOW_MS,
      availability: [{ tier: 'relay', available: true, reason: 'always' }] as never,
    },
    member: create(MemberSchema, {
      ...{ nodeId: nodeKey(index), name, state: index === 0 ? MemberState.SELF : MemberState.ALIVE, behind: 0n },
      address: `192.0.2.${index + 1}:7400`,
      certificateExpires: timestampFromMs(NOW_MS + 90 * 86_400_000),
      status: { ready: true, version: '0.1.0' },
    }),
    status: create(StatusResponseSchema, {
      ...{ nodeName: name, version: '0.1.0', pid: 100 + index, ready: true, services, configHash: 'c0ffee'.repeat(10) },
      started: timestampFromMs(NOW_MS - 3 * 3_600_000),
      engine: { running: true, version: '0.1.0', workers: 2 },
      traffic: [{ tier: 'relay', services, bytes: 1_000n }],
    }),
  };
}

export function serviceOf(index: number, backends: number, keys: readonly string[]): ServiceView {
  const name = serviceName(index);
  const on = (): ObjectOnNode => ({ generation: 7n, same: true, unmet: [] });
  return {
    ...{ kind: 'Service', name, agreement: 'same', healthyBackends: backends, mixedBackends: 0, backends },
    declared: create(ServiceSchema, {
      name,
      listeners: [{ protocol: Protocol.TCP, ports: [{ first: 10_000 + index, last: 10_000 + index }] }],
      backends: range(backends, (nth) => ({ name: `b${nth}`, address: `10.0.0.${nth + 1}:8080` })),
      balance: { algorithm: Algorithm.LEAST_CONNECTIONS },
      ...(index % 10 === 0 ? { trafficPolicy: 'gold' } : {}),
    }),
    nodes: new Map(keys.map((key) => [key, { ...on(), node: key }])),
    tiers: new Map(keys.map((key) => [key, tierOf(name)])),
    ...{ flows: new Map(), flow: flow(index % 7, index * 100), history: [] },
  };
}

function tierOf(service: string) {
  const reasons = ['it asks for a PROXY header, which only the relay writes'];
  return create(ServiceTierSchema, { service, tier: 'relay', reasons, fasterIf: ['backends take IPIP'] });
}

function backendOf(service: string, backend: string, keys: readonly string[]): BackendView {
  const status = create(BackendStatusSchema, {
    ...{ service, backend, weight: 1, connections: 3n },
    endpoints: [{ address: '10.0.0.1:8080', health: Health.HEALTHY, connections: 3n }],
  });
  return {
    ...{ key: `${service}/${backend}`, service, backend, nodes: new Map(keys.map((key) => [key, status])) },
    ...{ connections: 3 * keys.length, health: 'healthy', draining: 'no' },
  };
}

function policyOf(keys: readonly string[]): ObjectView {
  return {
    ...{ kind: 'TrafficPolicy', name: 'gold', agreement: 'same' },
    declared: create(ObjectSchema, {
      object: { case: 'trafficPolicy', value: { name: 'gold', ingress: { rate: 100_000_000n } } },
    }),
    nodes: new Map(keys.map((node) => [node, { node, generation: 3n, same: true, unmet: [] }])),
  };
}

/** The same mesh with something of some nodes, services or backends changed. */
export function changed(
  state: FleetState,
  changes: {
    readonly nodes?: Readonly<Record<string, Partial<NodeView>>>;
    readonly services?: Readonly<Record<string, Partial<ServiceView>>>;
    readonly backends?: Readonly<Record<string, Partial<BackendView>>>;
  } & Partial<Pick<FleetState, 'coverage' | 'configurations' | 'paused' | 'flow'>>,
): FleetState {
  const { nodes, services, backends, ...rest } = changes;
  return {
    ...state,
    ...rest,
    revision: state.revision + 1,
    nodes: merged(state.nodes, nodes),
    services: merged(state.services, services),
    backends: merged(state.backends, backends),
  };
}

function merged<V extends object>(
  before: ReadonlyMap<string, V>,
  changes: Readonly<Record<string, Partial<V>>> | undefined,
): ReadonlyMap<string, V> {
  if (changes === undefined) return before;
  const after = new Map(before);
  for (const [key, change] of Object.entries(changes)) {
    const old = after.get(key);
    if (old !== undefined) after.set(key, { ...old, ...change });
  }
  return after;
}

export function stale(sinceMs: number): Link {
  return { kind: 'stale', sinceMs, reason: 'the connection was cut', retryAtMs: sinceMs + 1_000 };
}

function range<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
