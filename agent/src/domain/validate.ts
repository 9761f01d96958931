// SPDX-License-Identifier: Apache-2.0
/**
 * What makes a service valid beyond its shape. The one place: files, the API and imports all pass through here. Every
 * violation is reported, each with the path of the field, the reason and what to write instead.
 */
import {
  AffinityKey,
  Algorithm,
  type Backend,
  type Balance,
  type HealthCheck,
  HealthCheckType,
  type Listener,
  LoadOf,
  Protocol,
  ProxyProtocolVersion,
  type Service,
} from '@marcher/model';
import {
  ipv4Target,
  isWide,
  networkOf,
  parseIp,
  parseListenerAddress,
  parsePrefix,
  parseTarget,
  prefixText,
} from './address.js';
import { isCountry } from './country.js';
import { DEFAULTS, LIMITS } from './defaults.js';
import { clustered, duration, type Faults, known, named, type Place, range, time } from './faults.js';
import { isEveryPort, packetModeOf, validateForwarding } from './packet-service.js';
import { addressKey, type Claim } from './port-ownership.js';
import { validateQuic } from './quic.js';
import { isPrefix } from './steering.js';

const REGION = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const LABEL_KEY = /^(?=.{1,128}$)[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const CONTROL = /[\u0000-\u001f\u007f]/;
const DAY_MS = 86_400_000;

/** Exceeds so many bytes in UTF-8. */
function longerThan(text: string, limit: number): boolean {
  // A UTF-16 unit takes at most three.
  return text.length * 3 > limit && utf8Length(text) > limit;
}

function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x80) bytes += c >= 0x800 && (c < 0xd800 || c > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

export function isPrime(n: number): boolean {
  if (n < 4) return n > 1;
  if (n % 2 === 0) return false;
  for (let i = 3; i * i <= n; i += 2) if (n % i === 0) return false;
  return true;
}

function nextPrime(n: number): number {
  let candidate = Math.max(2, n);
  while (!isPrime(candidate)) candidate++;
  return candidate;
}

/** The ports that a valid service listens on. */
export function claimsOf(service: Service): Claim[] {
  const claims: Claim[] = [];
  const packets = packetModeOf(service) !== undefined;
  for (const listener of service.listeners) {
    const prefix = listener.address === '' ? undefined : parseListenerAddress(listener.address);
    const address = prefix === undefined ? '' : addressKey(prefix.address);
    const wide = prefix !== undefined && isWide(prefix);
    const udp = listener.protocol === Protocol.UDP;
    for (const range of listener.ports) {
      const { first, last } = range;
      const claim = { udp, address, first, last };
      const everyPort = (packets || wide) && isEveryPort(range);
      if (!wide && !everyPort) claims.push(claim);
      else claims.push({ ...claim, everyPort, ...(wide ? { length: prefix.length } : {}) });
    }
  }
  return claims;
}

/** Name that a backend goes by: its own, or its address. */
export function backendName(backend: Backend): string {
  return backend.name === '' ? backend.address : backend.name;
}

function validateListenerAddress(text: string, path: string, faults: Faults): void {
  if (text === '') return;
  const prefix = parsePrefix(text);
  if (prefix === 'malformed') {
    const fix =
      'write an IPv4 or IPv6 address or prefix such as 192.0.2.0/24, without port, or leave it out to listen on every address';
    faults.add(path, `${JSON.stringify(text)} is not an IP address or prefix`, fix);
  } else if (prefix === 'host-bits') {
    const [address = '', length = ''] = text.split('/');
    const network = networkOf({ address: parseIp(address) ?? new Uint8Array(0), length: Number(length) });
    const fix = `write ${prefixText(network)}, or ${address} for that address alone`;
    faults.add(path, `${JSON.stringify(text)} has bits set beyond its length`, fix);
  } else if (isWide(prefix)) {
    const { address, length } = prefix;
    const min = address.length === 4 ? LIMITS.listenerIpv4PrefixMin : LIMITS.listenerIpv6PrefixMin;
    const first = address[0] ?? 0;
    if (length < min) {
      const fix = `write a prefix of at least ${min} bits, or leave it out to listen on every address`;
      faults.add(path, `${text} is shorter than /${min}`, fix);
    } else if (address.every((byte) => byte === 0) || (address.length === 4 ? first >= 224 : first === 0xff)) {
      faults.add(path, `${text} has multicast or reserved addresses`, 'write a prefix of unicast addresses');
    }
  }
}

function validateListener(listener: Listener, path: string, faults: Faults): number {
  known(faults, path, 'protocol', listener.protocol, Protocol);
  validateListenerAddress(listener.address, `${path}.address`, faults);
  if (listener.ports.length === 0) {
    faults.add(`${path}.ports`, 'has no port', 'write a port such as 80, a range such as "5000-5010", or a list');
  }
  if (listener.ports.length > LIMITS.portRangesPerListener) {
    const reason = `has ${listener.ports.length} ports and ranges`;
    faults.add(`${path}.ports`, reason, `write at most ${LIMITS.portRangesPerListener}, using ranges`);
    return 0;
  }
  let count = 0;
  listener.ports.forEach(({ first, last }, i) => {
    const at = listener.ports.length === 1 ? `${path}.ports` : `${path}.ports[${i}]`;
    if (first < 1 || first > 65_535 || last < 1 || last > 65_535) {
      const wrong = first < 1 || first > 65_535 ? first : last;
      faults.add(at, `${wrong} is not a port`, 'write ports from 1 to 65535');
    } else if (last < first) faults.add(at, `the range ${first}-${last} runs backwards`, `write "${last}-${first}"`);
    // Every port of a prefix is never listened on port by port.
    else count += isPrefix(listener) && isEveryPort({ first, last }) ? 1 : last - first + 1;
  });
  if (listener.acceptProxyFrom.length > 0 && listener.protocol === Protocol.UDP) {
    const fix = 'remove it, or use a tcp listener';
    faults.add(`${path}.acceptProxyFrom`, 'the PROXY protocol is read from TCP connections only', fix);
  }
  if (listener.acceptProxyFrom.length > LIMITS.prefixesPerListener) {
    const reason = `has ${listener.acceptProxyFrom.length} prefixes`;
    faults.add(`${path}.acceptProxyFrom`, reason, `write at most ${LIMITS.prefixesPerListener}, using larger prefixes`);
  } else {
    listener.acceptProxyFrom.forEach((text, i) => {
      const prefix = parsePrefix(text);
      const at = `${path}.acceptProxyFrom[${i}]`;
      if (prefix === 'malformed') {
        const fix = 'write a prefix such as "10.0.0.0/8" or "2001:db8::/32", or an address';
        faults.add(at, `${JSON.stringify(text)} is not a prefix`, fix);
      } else if (prefix === 'host-bits') {
        faults.add(
          at,
          `${JSON.stringify(text)} has bits set beyond its length`,
          'write the first address of the prefix',
        );
      }
    });
  }
  range(faults, path, 'maxConnections', listener.maxConnections, 1, 0xffff_ffff);
  range(faults, path, 'backlog', listener.backlog, 1, 65_535);
  return count;
}

interface Traits {
  readonly hasUdp: boolean;
  readonly hasTcp: boolean;
  readonly health: HealthCheck | undefined;
}

function validateTarget(backend: Backend, path: Place, traits: Traits, faults: Faults): void {
  const ipv4 = ipv4Target(backend.address);
  if (ipv4 !== -1 && ipv4 % 65_536 !== 0) return;
  const target = parseTarget(backend.address);
  if (target.kind === 'failure') {
    faults.add(`${path}.address`, target.reason, target.fix);
  } else if (target.kind === 'unix') {
    if (traits.hasUdp) {
      const reason = 'a Unix socket takes TCP connections only, and the service has a udp listener';
      faults.add(`${path}.address`, reason, 'give the UDP listener a service of its own');
    }
    if (traits.health?.type === HealthCheckType.UDP) {
      faults.add(`${path}.address`, 'a Unix socket cannot be probed by UDP', 'use health.type tcp or http');
    }
  } else if (target.port === 0 && traits.health !== undefined && traits.health.port === undefined) {
    const reason = 'has no port, so that health checks do not know where to go';
    faults.add(`${path}.address`, reason, 'write "host:port", or set health.port');
  }
}

class BackendPlace {
  readonly #service: string;
  readonly #index: number;

  constructor(service: string, index: number) {
    this.#service = service;
    this.#index = index;
  }

  toString(): string {
    return `${this.#service}.backends[${this.#index}]`;
  }
}

function validateBackend(backend: Backend, path: Place, traits: Traits, faults: Faults): void {
  validateTarget(backend, path, traits, faults);
  const name = backendName(backend);
  if (longerThan(name, LIMITS.backendNameBytes)) {
    const field = backend.name === '' ? 'address' : 'name';
    const fix = backend.name === '' ? 'give the backend a short name' : 'shorten it';
    faults.add(`${path}.${field}`, `is longer than ${LIMITS.backendNameBytes} bytes`, fix);
  }
  if (backend.name !== '' && (CONTROL.test(name) || name.trim() !== name)) {
    faults.add(`${path}.name`, 'has control characters, or spaces at an end', 'write a printable name');
  }
  range(faults, path, 'weight', backend.weight, 0, LIMITS.weight);
  if (backend.region !== '' && (!REGION.test(backend.region) || backend.region.length > LIMITS.regionBytes)) {
    const fix = `write at most ${LIMITS.regionBytes} of letters, digits, ".", "_" and "-", such as "eu-west"`;
    faults.add(`${path}.region`, `${JSON.stringify(backend.region)} is not a region name`, fix);
  }
  if (backend.country !== '' && !isCountry(backend.country)) {
    const upper = backend.country.toUpperCase();
    const fix = isCountry(upper) ? `write "${upper}"` : 'write an ISO 3166-1 alpha-2 code, such as "DE"';
    faults.add(`${path}.country`, `${JSON.stringify(backend.country)} is not a country code`, fix);
  }
  range(faults, path, 'softLimit', backend.softLimit, 1, 0xffff_ffff);
  range(faults, path, 'hardLimit', backend.hardLimit, 1, 0xffff_ffff);
  if (backend.softLimit !== undefined && backend.hardLimit !== undefined && backend.hardLimit < backend.softLimit) {
    const reason = `${backend.hardLimit} is below softLimit ${backend.softLimit}`;
    faults.add(`${path}.hardLimit`, reason, `write at least ${backend.softLimit}, or lower softLimit`);
  }
  if (backend.sendProxy !== ProxyProtocolVersion.UNSPECIFIED) {
    known(faults, path, 'sendProxy', backend.sendProxy, ProxyProtocolVersion);
    if (traits.hasUdp) {
      const reason = 'the PROXY protocol is sent on TCP connections only, and the service has a udp listener';
      faults.add(`${path}.sendProxy`, reason, 'remove it, or give the UDP listener a service of its own');
    }
  }
  if (backend.sourceAddress !== '') {
    const source = parseIp(backend.sourceAddress);
    const target = parseTarget(backend.address);
    if (source === undefined) {
      const reason = `${JSON.stringify(backend.sourceAddress)} is not an IP address`;
      faults.add(`${path}.sourceAddress`, reason, 'write an address of this node, without port');
    } else if (target.kind === 'unix') {
      faults.add(`${path}.sourceAddress`, 'means nothing for a Unix socket', 'remove it');
    } else if (target.kind === 'ip' && target.address.length !== source.length) {
      const fix = 'write an address of the same family as the backend';
      faults.add(`${path}.sourceAddress`, 'is of another address family than the backend', fix);
    }
  }
}

function validateBalance(balance: Balance, backends: number, path: string, faults: Faults): void {
  known(faults, path, 'algorithm', balance.algorithm, Algorithm);
  known(faults, path, 'loadOf', balance.loadOf, LoadOf);
  if (balance.loadOf === LoadOf.MESH) {
    if (balance.algorithm !== Algorithm.LEAST_CONNECTIONS) {
      const fix = 'write algorithm: least-connections, or remove loadOf';
      faults.add(`${path}.loadOf`, 'stands beside an algorithm that does not go by the load of other nodes', fix);
    }
    if (backends > LIMITS.meshLoadBackends) {
      const reason = `is mesh, for which ${backends} backends are too many`;
      const fix = `use at most ${LIMITS.meshLoadBackends} backends, or write loadOf: node`;
      faults.add(`${path}.loadOf`, reason, fix);
    }
  }
  range(faults, path, 'panicThreshold', balance.panicThresholdPercent, 0, 100);
  time(faults, path, 'slowStart', balance.slowStartMs, 0, 3_600_000);
  const size = balance.maglevTableSize;
  if (size !== undefined) {
    const at = `${path}.maglevTableSize`;
    if (size < Math.max(2, backends) || size > LIMITS.maglevTableSize) {
      const reason = size > LIMITS.maglevTableSize ? `${size} is too large` : `${size} is below the number of backends`;
      const fix = `write a prime from ${nextPrime(Math.max(backends, 2))} to ${LIMITS.maglevTableSize}`;
      faults.add(at, reason, fix);
    } else if (!isPrime(size)) faults.add(at, `${size} is not a prime`, `write ${nextPrime(size)}`);
  }
  const { affinity } = balance;
  if (affinity !== undefined) {
    known(faults, path, 'affinity.by', affinity.by, AffinityKey);
    time(faults, path, 'affinity.ttl', affinity.ttlMs, 1_000, 30 * DAY_MS);
    range(faults, path, 'affinity.ipv4Prefix', affinity.ipv4Prefix, 1, 32);
    range(faults, path, 'affinity.ipv6Prefix', affinity.ipv6Prefix, 1, 128);
    range(faults, path, 'affinity.maxEntries', affinity.maxEntries, 1, LIMITS.tableEntries);
  }
}

/** "200" or "200-299", within 100 to 599. */
export function parseStatusRange(text: string): { first: number; last: number } | undefined {
  const match = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return last < first ? undefined : { first, last };
}

function validateHealth(health: HealthCheck, path: string, faults: Faults): void {
  known(faults, path, 'type', health.type, HealthCheckType);
  time(faults, path, 'interval', health.intervalMs, 50, DAY_MS);
  time(faults, path, 'timeout', health.timeoutMs, 1, 300_000);
  range(faults, path, 'fall', health.fall, 1, 1_000);
  range(faults, path, 'rise', health.rise, 1, 1_000);
  range(faults, path, 'jitter', health.jitterPercent, 0, 100);
  range(faults, path, 'port', health.port, 1, 65_535);
  if (health.http !== undefined) {
    const { method, path: target, host, expectStatus, expectBody } = health.http;
    if (health.type !== HealthCheckType.HTTP) {
      faults.add(`${path}.http`, 'stands beside a type that is not http', 'write type: http, or remove it');
    }
    if (method !== '' && !/^[A-Z]{1,16}$/.test(method)) {
      faults.add(`${path}.http.method`, `${JSON.stringify(method)} is not a method`, 'write GET or HEAD');
    }
    if (target !== '' && !/^\/[\x21-\x7e]{0,2047}$/.test(target)) {
      const fix = 'write a path that begins with "/", percent-encoded, at most 2048 characters';
      faults.add(`${path}.http.path`, `${JSON.stringify(target.slice(0, 80))} is not a request path`, fix);
    }
    if (host !== '' && !/^[\x21-\x7e]{1,255}$/.test(host)) {
      faults.add(`${path}.http.host`, 'is not a host', 'write a host name, with ":port" where it is not the default');
    }
    if (expectStatus.length > LIMITS.expectStatuses) {
      faults.add(`${path}.http.expectStatus`, `has ${expectStatus.length} entries`, 'use ranges such as "200-299"');
    } else {
      expectStatus.forEach((text, i) => {
        if (parseStatusRange(text) === undefined) {
          const reason = `${JSON.stringify(text)} is not a status or a range`;
          faults.add(`${path}.http.expectStatus[${i}]`, reason, 'write 200 or "200-299", within 100 to 599');
        }
      });
    }
    if (longerThan(expectBody, LIMITS.probeBodyBytes)) {
      faults.add(`${path}.http.expectBody`, 'is too long', `write at most ${LIMITS.probeBodyBytes} bytes`);
    }
    if (expectBody !== '' && method === 'HEAD') {
      faults.add(`${path}.http.expectBody`, 'an answer to HEAD has no body', 'use method GET, or remove it');
    }
  }
  if (health.udp !== undefined && health.type !== HealthCheckType.UDP) {
    faults.add(`${path}.udp`, 'stands beside a type that is not udp', 'write type: udp, or remove it');
  }
  if (health.type === HealthCheckType.UDP && (health.udp?.payload.length ?? 0) === 0) {
    const reason = 'is missing: without a request no UDP server answers';
    faults.add(`${path}.udp.payload`, reason, 'write what to send, as a text or {hex: "..."}');
  }
  for (const field of ['payload', 'expect'] as const) {
    const length = health.udp?.[field].length ?? 0;
    if (length > LIMITS.probePayloadBytes) {
      const fix = `write at most ${LIMITS.probePayloadBytes}, so that it fits into one datagram everywhere`;
      faults.add(`${path}.udp.${field}`, `has ${length} bytes`, fix);
    }
  }
}

function validateRest(service: Service, path: string, faults: Faults): void {
  const { outlier, timeouts, limits, udp, dns, labels } = service;
  clustered(faults, path, service.cluster);
  if (outlier !== undefined) {
    range(faults, path, 'outlier.consecutiveFailures', outlier.consecutiveFailures, 1, 1_000);
    time(faults, path, 'outlier.baseEjection', outlier.baseEjectionMs, 100, DAY_MS);
    time(faults, path, 'outlier.maxEjection', outlier.maxEjectionMs, 100, DAY_MS);
    range(faults, path, 'outlier.maxEjected', outlier.maxEjectedPercent, 0, 100);
    const base = outlier.baseEjectionMs ?? DEFAULTS.outlierBaseMs;
    const max = outlier.maxEjectionMs ?? Math.max(base, DEFAULTS.outlierMaxMs);
    if (max < base) {
      const reason = `${duration(max)} is below baseEjection ${duration(base)}`;
      faults.add(`${path}.outlier.maxEjection`, reason, `write at least ${duration(base)}`);
    }
  }
  if (timeouts !== undefined) {
    time(faults, path, 'timeouts.connect', timeouts.connectMs, 1, 600_000);
    time(faults, path, 'timeouts.idle', timeouts.idleMs, 10, 30 * DAY_MS);
    time(faults, path, 'timeouts.halfClosed', timeouts.halfClosedMs, 10, 30 * DAY_MS);
    time(faults, path, 'timeouts.drain', timeouts.drainMs, 0, DAY_MS);
  }
  if (limits !== undefined) {
    range(faults, path, 'limits.maxConnections', limits.maxConnections, 1, 0xffff_ffff);
    range(faults, path, 'limits.maxConnectionsPerSource', limits.maxConnectionsPerSource, 1, 0xffff_ffff);
    range(faults, path, 'limits.sourceIpv4Prefix', limits.sourceIpv4Prefix, 1, 32);
    range(faults, path, 'limits.sourceIpv6Prefix', limits.sourceIpv6Prefix, 1, 128);
  }
  range(faults, path, 'udp.maxSessions', udp?.maxSessions, 1, LIMITS.tableEntries);
  validateQuic(service, path, faults);
  if (dns !== undefined) {
    time(faults, path, 'dns.minTtl', dns.minTtlMs, 100, DAY_MS);
    time(faults, path, 'dns.maxTtl', dns.maxTtlMs, 100, DAY_MS);
    const min = dns.minTtlMs ?? DEFAULTS.dnsMinTtlMs;
    const max = dns.maxTtlMs ?? DEFAULTS.dnsMaxTtlMs;
    if (max < min) {
      const field = dns.maxTtlMs === undefined ? 'minTtl' : 'maxTtl';
      const reason = `the longest time to live, ${duration(max)}, is below the shortest, ${duration(min)}`;
      faults.add(`${path}.dns.${field}`, reason, 'write dns.minTtl no larger than dns.maxTtl');
    }
  }
  const names = Object.keys(labels);
  if (names.length > LIMITS.labels) {
    faults.add(`${path}.labels`, `has ${names.length} labels`, `keep at most ${LIMITS.labels}`);
  }
  for (const name of names.slice(0, LIMITS.labels)) {
    if (!LABEL_KEY.test(name)) {
      const fix =
        'write at most 128 of letters, digits, ".", "_", "-" and "/", beginning and ending with a letter or digit';
      faults.add(`${path}.labels`, `${JSON.stringify(name.slice(0, 140))} is not a label name`, fix);
    }
    const value = labels[name] ?? '';
    if (longerThan(value, 256) || CONTROL.test(value)) {
      const reason = 'is longer than 256 bytes, or has control characters';
      faults.add(`${path}.labels.${name}`, reason, 'write a short printable value');
    }
  }
}

/** Everything about one service that needs no other service to judge. */
export function validateService(service: Service, path: string, faults: Faults): void {
  named(faults, path, service.name, 'service');
  const { listeners, backends } = service;
  if (listeners.length === 0) {
    faults.add(`${path}.listeners`, 'has no listener', 'write at least one, such as [{ protocol: tcp, port: 80 }]');
  }
  if (listeners.length > LIMITS.listenersPerService) {
    const fix = `keep at most ${LIMITS.listenersPerService}; a listener takes a list of ports and ranges`;
    faults.add(`${path}.listeners`, `has ${listeners.length} listeners`, fix);
  } else {
    let ports = 0;
    listeners.forEach((listener, i) => {
      ports += validateListener(listener, `${path}.listeners[${i}]`, faults);
    });
    if (ports > LIMITS.portsPerService) {
      faults.add(`${path}.listeners`, `has ${ports} ports`, `keep at most ${LIMITS.portsPerService} per service`);
    }
  }

  const hasUdp = listeners.some((listener) => listener.protocol === Protocol.UDP);
  const hasTcp = listeners.some((listener) => listener.protocol !== Protocol.UDP);
  const traits: Traits = { hasUdp, hasTcp, health: service.health };
  if (backends.length > LIMITS.backendsPerService) {
    const fix = `keep at most ${LIMITS.backendsPerService}, or use a DNS name that resolves to many addresses`;
    faults.add(`${path}.backends`, `has ${backends.length} backends`, fix);
  } else {
    const names = new Map<string, number>();
    for (let i = 0; i < backends.length; i++) {
      const backend = backends[i] as Backend;
      validateBackend(backend, new BackendPlace(path, i), traits, faults);
      const name = backendName(backend);
      const earlier = names.get(name);
      if (earlier !== undefined) {
        const reason = `${JSON.stringify(name)} is also backends[${earlier}]`;
        const field = backend.name === '' ? 'address' : 'name';
        faults.add(`${path}.backends[${i}].${field}`, reason, 'remove one, or give each a name of its own');
      } else names.set(name, i);
    }
  }
  if (service.balance !== undefined) validateBalance(service.balance, backends.length, `${path}.balance`, faults);
  if (service.health !== undefined) validateHealth(service.health, `${path}.health`, faults);
  validateRest(service, path, faults);
  validateForwarding(service, path, faults);
}
