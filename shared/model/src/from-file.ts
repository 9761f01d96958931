// SPDX-License-Identifier: Apache-2.0
/** From the parsed file form to the messages of the model. */
import { create } from '@bufbuild/protobuf';
import {
  AffinityKey,
  Algorithm,
  ForwardingMode,
  HealthCheckType,
  LoadOf,
  ProxyProtocolVersion,
  type Service,
  ServiceSchema,
} from '@marcher/proto/marcher/v1/model_pb';
import { present } from './file-field.js';
import type { BackendShape, ListenerShape, ServiceShape } from './file-shape.js';
import { PROTOCOL } from './protocol-form.js';

type Init = NonNullable<Parameters<typeof create<typeof ServiceSchema>>[1]>;

const ALGORITHM = {
  'round-robin': Algorithm.ROUND_ROBIN,
  'weighted-round-robin': Algorithm.WEIGHTED_ROUND_ROBIN,
  'least-connections': Algorithm.LEAST_CONNECTIONS,
  random: Algorithm.RANDOM,
  maglev: Algorithm.MAGLEV,
  geo: Algorithm.GEO,
} as const;
const LOAD_OF = { node: LoadOf.NODE, mesh: LoadOf.MESH } as const;
const HEALTH_TYPE = { tcp: HealthCheckType.TCP, http: HealthCheckType.HTTP, udp: HealthCheckType.UDP } as const;
const FORWARDING = {
  relay: ForwardingMode.RELAY,
  ipip: ForwardingMode.IPIP,
  gue: ForwardingMode.GUE,
  l2: ForwardingMode.L2,
  nat: ForwardingMode.NAT,
  auto: ForwardingMode.AUTO,
} as const;
const PROXY = { v1: ProxyProtocolVersion.V1, v2: ProxyProtocolVersion.V2 } as const;

function listener(file: ListenerShape) {
  return present({
    protocol: file.protocol === undefined ? undefined : PROTOCOL[file.protocol],
    address: file.address,
    ports: [...(file.port ?? []), ...(file.ports ?? [])],
    acceptProxyFrom: file.acceptProxyFrom,
    maxConnections: file.maxConnections,
    backlog: file.backlog,
  });
}

function backend(file: BackendShape) {
  return present({
    address: file.address,
    name: file.name,
    weight: file.weight,
    region: file.region,
    country: file.country,
    softLimit: file.softLimit,
    hardLimit: file.hardLimit,
    sendProxy: file.sendProxy === undefined ? undefined : PROXY[file.sendProxy],
    sourceAddress: file.sourceAddress,
    drain: file.drain,
    quicServerId: file.quicServerId,
  });
}

function balance(file: NonNullable<ServiceShape['balance']>) {
  const affinity = file.affinity;
  return present({
    algorithm: file.algorithm === undefined ? undefined : ALGORITHM[file.algorithm],
    loadOf: file.loadOf === undefined ? undefined : LOAD_OF[file.loadOf],
    affinity:
      affinity === undefined
        ? undefined
        : present({
            // The only key there is; written out by those who like it written out.
            by: AffinityKey.SOURCE_IP,
            ttlMs: affinity.ttl,
            ipv4Prefix: affinity.ipv4Prefix,
            ipv6Prefix: affinity.ipv6Prefix,
            maxEntries: affinity.maxEntries,
          }),
    panicThresholdPercent: file.panicThreshold,
    slowStartMs: file.slowStart,
    maglevTableSize: file.maglevTableSize,
  });
}

function health(file: NonNullable<ServiceShape['health']>) {
  return present({
    type: file.type === undefined ? undefined : HEALTH_TYPE[file.type],
    intervalMs: file.interval,
    timeoutMs: file.timeout,
    fall: file.fall,
    rise: file.rise,
    jitterPercent: file.jitter,
    port: file.port,
    http: file.http === undefined ? undefined : present({ ...file.http }),
    udp: file.udp === undefined ? undefined : present({ ...file.udp }),
  });
}

/** An absent `protocol` stays unspecified, which means TCP. */
export function serviceFromFile(file: ServiceShape): Service {
  const init = present({
    name: file.name,
    listeners: file.listeners?.map(listener),
    backends: file.backends?.map(backend),
    balance: file.balance === undefined ? undefined : balance(file.balance),
    health: file.health === undefined ? undefined : health(file.health),
    outlier:
      file.outlier === undefined
        ? undefined
        : present({
            enabled: file.outlier.enabled,
            consecutiveFailures: file.outlier.consecutiveFailures,
            baseEjectionMs: file.outlier.baseEjection,
            maxEjectionMs: file.outlier.maxEjection,
            maxEjectedPercent: file.outlier.maxEjected,
          }),
    timeouts:
      file.timeouts === undefined
        ? undefined
        : present({
            connectMs: file.timeouts.connect,
            idleMs: file.timeouts.idle,
            halfClosedMs: file.timeouts.halfClosed,
            drainMs: file.timeouts.drain,
          }),
    limits: file.limits === undefined ? undefined : present({ ...file.limits }),
    udp:
      file.udp === undefined
        ? undefined
        : present({
            maxSessions: file.udp.maxSessions,
            quic: file.udp.quic === undefined ? undefined : present({ ...file.udp.quic }),
          }),
    dns: file.dns === undefined ? undefined : present({ minTtlMs: file.dns.minTtl, maxTtlMs: file.dns.maxTtl }),
    labels: file.labels,
    forwarding:
      file.forwarding === undefined
        ? undefined
        : present({
            mode: file.forwarding.mode === undefined ? undefined : FORWARDING[file.forwarding.mode],
            guePort: file.forwarding.guePort,
            sourceNat: file.forwarding.sourceNat,
          }),
    trafficPolicy: file.trafficPolicy,
    cluster: file.cluster,
  });
  return create(ServiceSchema, init as Init);
}
