// SPDX-License-Identifier: Apache-2.0
/**
 * The shape of the file form, as zod schemas. Shape only: whether a port may be used or a name is well formed is the
 * domain's business, which checks files and API requests alike.
 */
import { z } from 'zod';
import {
  type BytesForm,
  type Parsed,
  parseBytes,
  parseDuration,
  parsePercent,
  parsePorts,
  parseWhole,
} from './scalar.js';

/** A scalar with a parser of its own. The fix travels in the issue's params. */
function scalar<T>(parse: (value: unknown) => Parsed<T>) {
  return z
    .unknown()
    .transform((value, context): T => {
      const parsed = parse(value);
      if ('value' in parsed) return parsed.value;
      context.issues.push({ code: 'custom', message: parsed.reason, params: { fix: parsed.fix }, input: value });
      return z.NEVER;
    })
    .optional();
}

const text = z.string().optional();
const flag = z.boolean().optional();
const whole = scalar(parseWhole);
const duration = scalar(parseDuration);
const percent = scalar(parsePercent);
const ports = scalar(parsePorts);
const bytes = scalar(parseBytes);

/** Statuses are "200" or "200-299"; a bare number is what everybody writes. */
const status = z.union([z.string(), z.number()]).transform(String);

export const PROTOCOLS = ['tcp', 'udp'] as const;
export const ALGORITHMS = [
  'round-robin',
  'weighted-round-robin',
  'least-connections',
  'random',
  'maglev',
  'geo',
] as const;
export const AFFINITY_KEYS = ['source-ip'] as const;
export const HEALTH_CHECK_TYPES = ['tcp', 'http', 'udp'] as const;
export const PROXY_VERSIONS = ['v1', 'v2'] as const;
export const FORWARDING_MODES = ['relay', 'ipip', 'gue', 'l2'] as const;

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
  udp: z.strictObject({ maxSessions: whole }).optional(),
  dns: z.strictObject({ minTtl: duration, maxTtl: duration }).optional(),
  labels: z.record(z.string(), z.string()).optional(),
  forwarding: z.strictObject({ mode: z.enum(FORWARDING_MODES).optional(), guePort: whole }).optional(),
});

export const API_VERSION = 'marcher/v1';

export const documentShape = z.strictObject({
  apiVersion: z.literal(API_VERSION),
  services: z.array(serviceShape),
});

export type ServiceShape = z.output<typeof serviceShape>;
export type ListenerShape = z.output<typeof listener>;
export type BackendShape = z.output<typeof backend>;

/** What printing makes: plain data of the file form, before its scalars are parsed. */
export interface ServiceFile {
  name: string;
  [key: string]: FileValue | undefined;
}
export type FileValue = string | number | boolean | BytesForm | FileValue[] | { [key: string]: FileValue | undefined };
