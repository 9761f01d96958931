// SPDX-License-Identifier: Apache-2.0
/** From the messages of the model to plain data of the file form. What is absent in the message is absent there. */
import {
  AffinityKey,
  Algorithm,
  type Backend,
  type Balance,
  ForwardingMode,
  type HealthCheck,
  HealthCheckType,
  type Listener,
  LoadOf,
  ProxyProtocolVersion,
  type Service,
} from '@marcher/proto/marcher/v1/model_pb';
import type { ObjectFile } from './file-shape.js';
import { compact, type Fields, text } from './file-value.js';
import { PROTOCOL_NAME } from './protocol-form.js';
import { printBytes, printDuration, printPercent, printPorts } from './scalar.js';

const ALGORITHM: Readonly<Record<number, string>> = {
  [Algorithm.ROUND_ROBIN]: 'round-robin',
  [Algorithm.WEIGHTED_ROUND_ROBIN]: 'weighted-round-robin',
  [Algorithm.LEAST_CONNECTIONS]: 'least-connections',
  [Algorithm.RANDOM]: 'random',
  [Algorithm.MAGLEV]: 'maglev',
  [Algorithm.GEO]: 'geo',
};
const AFFINITY: Readonly<Record<number, string>> = { [AffinityKey.SOURCE_IP]: 'source-ip' };
const LOAD_OF: Readonly<Record<number, string>> = { [LoadOf.NODE]: 'node', [LoadOf.MESH]: 'mesh' };
const HEALTH_TYPE: Readonly<Record<number, string>> = {
  [HealthCheckType.TCP]: 'tcp',
  [HealthCheckType.HTTP]: 'http',
  [HealthCheckType.UDP]: 'udp',
};
const FORWARDING: Readonly<Record<number, string>> = {
  [ForwardingMode.RELAY]: 'relay',
  [ForwardingMode.IPIP]: 'ipip',
  [ForwardingMode.GUE]: 'gue',
  [ForwardingMode.L2]: 'l2',
  [ForwardingMode.NAT]: 'nat',
  [ForwardingMode.AUTO]: 'auto',
};
const PROXY: Readonly<Record<number, string>> = {
  [ProxyProtocolVersion.V1]: 'v1',
  [ProxyProtocolVersion.V2]: 'v2',
};

const duration = (ms: number | undefined) => (ms === undefined ? undefined : printDuration(ms));
const percent = (value: number | undefined) => (value === undefined ? undefined : printPercent(value));

function listener(message: Listener): Fields {
  const { ports } = message;
  const single = ports.length === 1;
  return compact({
    protocol: PROTOCOL_NAME[message.protocol],
    address: text(message.address),
    port: single ? printPorts(ports) : undefined,
    ports: single || ports.length === 0 ? undefined : printPorts(ports),
    acceptProxyFrom: message.acceptProxyFrom.length === 0 ? undefined : [...message.acceptProxyFrom],
    maxConnections: message.maxConnections,
    backlog: message.backlog,
  });
}

function backend(message: Backend): Fields {
  return compact({
    address: message.address,
    name: text(message.name),
    weight: message.weight,
    region: text(message.region),
    country: text(message.country),
    softLimit: message.softLimit,
    hardLimit: message.hardLimit,
    sendProxy: PROXY[message.sendProxy],
    sourceAddress: text(message.sourceAddress),
    drain: message.drain ? true : undefined,
    quicServerId: text(message.quicServerId),
  });
}

function balance(message: Balance): Fields {
  const { affinity } = message;
  return compact({
    algorithm: ALGORITHM[message.algorithm],
    loadOf: LOAD_OF[message.loadOf],
    affinity:
      affinity === undefined
        ? undefined
        : compact({
            by: AFFINITY[affinity.by],
            ttl: duration(affinity.ttlMs),
            ipv4Prefix: affinity.ipv4Prefix,
            ipv6Prefix: affinity.ipv6Prefix,
            maxEntries: affinity.maxEntries,
          }),
    panicThreshold: percent(message.panicThresholdPercent),
    slowStart: duration(message.slowStartMs),
    maglevTableSize: message.maglevTableSize,
  });
}

function health(message: HealthCheck): Fields {
  const { http, udp } = message;
  return compact({
    type: HEALTH_TYPE[message.type],
    interval: duration(message.intervalMs),
    timeout: duration(message.timeoutMs),
    fall: message.fall,
    rise: message.rise,
    jitter: percent(message.jitterPercent),
    port: message.port,
    http:
      http === undefined
        ? undefined
        : compact({
            method: text(http.method),
            path: text(http.path),
            host: text(http.host),
            expectStatus:
              http.expectStatus.length === 0
                ? undefined
                : http.expectStatus.map((status) => (/^[1-9]\d{0,5}$/.test(status) ? Number(status) : status)),
            expectBody: text(http.expectBody),
          }),
    udp:
      udp === undefined
        ? undefined
        : compact({
            payload: udp.payload.length === 0 ? undefined : printBytes(udp.payload),
            expect: udp.expect.length === 0 ? undefined : printBytes(udp.expect),
          }),
  });
}

export function serviceToFile(message: Service): ObjectFile {
  const { outlier, timeouts, limits, udp, dns, labels, forwarding } = message;
  const labelNames = Object.keys(labels).sort();
  return compact({
    name: message.name,
    listeners: message.listeners.length === 0 ? undefined : message.listeners.map(listener),
    backends: message.backends.length === 0 ? undefined : message.backends.map(backend),
    balance: message.balance === undefined ? undefined : balance(message.balance),
    health: message.health === undefined ? undefined : health(message.health),
    outlier:
      outlier === undefined
        ? undefined
        : compact({
            enabled: outlier.enabled,
            consecutiveFailures: outlier.consecutiveFailures,
            baseEjection: duration(outlier.baseEjectionMs),
            maxEjection: duration(outlier.maxEjectionMs),
            maxEjected: percent(outlier.maxEjectedPercent),
          }),
    timeouts:
      timeouts === undefined
        ? undefined
        : compact({
            connect: duration(timeouts.connectMs),
            idle: duration(timeouts.idleMs),
            halfClosed: duration(timeouts.halfClosedMs),
            drain: duration(timeouts.drainMs),
          }),
    limits:
      limits === undefined
        ? undefined
        : compact({
            maxConnections: limits.maxConnections,
            maxConnectionsPerSource: limits.maxConnectionsPerSource,
            sourceIpv4Prefix: limits.sourceIpv4Prefix,
            sourceIpv6Prefix: limits.sourceIpv6Prefix,
          }),
    udp:
      udp === undefined
        ? undefined
        : compact({
            maxSessions: udp.maxSessions,
            quic:
              udp.quic &&
              compact({
                configIds: udp.quic.configIds.length === 0 ? undefined : [...udp.quic.configIds],
                lengthSelfEncoded: udp.quic.lengthSelfEncoded,
              }),
          }),
    dns: dns === undefined ? undefined : compact({ minTtl: duration(dns.minTtlMs), maxTtl: duration(dns.maxTtlMs) }),
    labels:
      labelNames.length === 0 ? undefined : Object.fromEntries(labelNames.map((name) => [name, labels[name] ?? ''])),
    forwarding:
      forwarding === undefined
        ? undefined
        : compact({
            mode: FORWARDING[forwarding.mode],
            guePort: forwarding.guePort,
            sourceNat: forwarding.sourceNat,
          }),
    trafficPolicy: text(message.trafficPolicy),
    cluster: text(message.cluster),
  }) as ObjectFile;
}
