// SPDX-License-Identifier: Apache-2.0
/**
 * The shape of the file form, as zod schemas. Shape only: whether a port may be used or a name is well formed is the
 * domain's business, which checks files and API requests alike.
 */
import { z } from 'zod';
import { bytes, duration, flag, percent, ports, requiredWhole, text, whole } from './file-field.js';
import { guardShape } from './guard-form.js';
import { PROTOCOLS } from './protocol-form.js';
import type { BytesForm } from './scalar.js';
import { trafficPolicyShape } from './traffic-policy-form.js';

/** Statuses are "200" or "200-299"; a bare number is what everybody writes. */
const status = z.union([z.string(), z.number()]).transform(String);

export const ALGORITHMS = [
  'round-robin',
  'weighted-round-robin',
  'least-connections',
  'random',
  'maglev',
  'geo',
] as const;
export const AFFINITY_KEYS = ['source-ip'] as const;
export const LOADS = ['node', 'mesh'] as const;
export const HEALTH_CHECK_TYPES = ['tcp', 'http', 'udp'] as const;
export const PROXY_VERSIONS = ['v1', 'v2'] as const;
export const FORWARDING_MODES = ['relay', 'auto', 'ipip', 'gue', 'l2', 'nat'] as const;

const listener = z.strictObject({
  protocol: z.enum(PROTOCOLS).optional(),
  address: text,
  port: ports,
  ports,
  acceptProxyFrom: z.array(z.string()).optional(),
  maxConnections: whole,
  backlog: whole,
});

const backend = z.strictObject({
  address: z.string(),
  name: text,
  weight: whole,
  region: text,
  country: text,
  softLimit: whole,
  hardLimit: whole,
  sendProxy: z.enum(PROXY_VERSIONS).optional(),
  sourceAddress: text,
  drain: flag,
  quicServerId: text,
});

const affinity = z.strictObject({
  by: z.enum(AFFINITY_KEYS).optional(),
  ttl: duration,
  ipv4Prefix: whole,
  ipv6Prefix: whole,
  maxEntries: whole,
});

const balance = z.strictObject({
  algorithm: z.enum(ALGORITHMS).optional(),
  loadOf: z.enum(LOADS).optional(),
  affinity: affinity.optional(),
  panicThreshold: percent,
  slowStart: duration,
  maglevTableSize: whole,
});

const health = z.strictObject({
  type: z.enum(HEALTH_CHECK_TYPES).optional(),
  interval: duration,
  timeout: duration,
  fall: whole,
  rise: whole,
  jitter: percent,
  port: whole,
  http: z
    .strictObject({ method: text, path: text, host: text, expectStatus: z.array(status).optional(), expectBody: text })
    .optional(),
  udp: z.strictObject({ payload: bytes, expect: bytes }).optional(),
});

export const serviceShape = z.strictObject({
  name: z.string(),
  listeners: z.array(listener).optional(),
  backends: z.array(backend).optional(),
  balance: balance.optional(),
  health: health.optional(),
  outlier: z
    .strictObject({
      enabled: flag,
      consecutiveFailures: whole,
      baseEjection: duration,
      maxEjection: duration,
      maxEjected: percent,
    })
    .optional(),
  timeouts: z.strictObject({ connect: duration, idle: duration, halfClosed: duration, drain: duration }).optional(),
  limits: z
    .strictObject({
      maxConnections: whole,
      maxConnectionsPerSource: whole,
      sourceIpv4Prefix: whole,
      sourceIpv6Prefix: whole,
    })
    .optional(),
  udp: z
    .strictObject({
      maxSessions: whole,
      quic: z.strictObject({ configIds: z.array(requiredWhole).optional(), lengthSelfEncoded: flag }).optional(),
    })
    .optional(),
  dns: z.strictObject({ minTtl: duration, maxTtl: duration }).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  forwarding: z.strictObject({ mode: z.enum(FORWARDING_MODES).optional(), guePort: whole, sourceNat: flag }).optional(),
  trafficPolicy: text,
  cluster: text,
});

export const API_VERSION = 'marcher/v1';

export const documentShape = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  services: z.array(serviceShape).optional(),
  guards: z.array(guardShape).optional(),
  trafficPolicies: z.array(trafficPolicyShape).optional(),
});

/** At least one of them stands in a document. */
export const LISTS = ['services', 'guards', 'trafficPolicies'] as const;

export type ServiceShape = z.output<typeof serviceShape>;
export type ListenerShape = z.output<typeof listener>;
export type BackendShape = z.output<typeof backend>;

/** What printing makes: plain data of the file form, before its scalars are parsed. */
export interface ObjectFile {
  name: string;
  [key: string]: FileValue | undefined;
}
export type FileValue = string | number | boolean | BytesForm | FileValue[] | { [key: string]: FileValue | undefined };
