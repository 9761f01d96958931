// SPDX-License-Identifier: Apache-2.0
/**
 * What /metrics says.
 *
 * Bounds: counters and histograms are written for services and backends that ever had traffic (or a failure, or a
 * rejection), connect-time histograms per backend only up to 5,000 of those; health and weight gauges for every backend. Text comes in pieces of about 64 KiB, and the event loop gets
 * its turn between them.
 *
 * The data plane counts bytes and connections per service, not per protocol. A service with UDP listeners only is
 * written as marcher_udp_*, every other as marcher_tcp_*; a service that has both has its UDP sessions in marcher_tcp_*,
 * and its datagrams in marcher_udp_packets_total all the same.
 */
import { Protocol } from '@marcher/proto/marcher/v1/model_pb';
import { Health } from '@marcher/proto/marcher/v1/node_service_pb';
import type { Counters } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { UseCases } from '../../../ports/use-cases.js';
import { header, histogram, type Labels, labelText, sample } from './exposition.js';

interface Subject {
  readonly labels: Labels;
  readonly text: string;
  readonly counters: Counters;
  readonly udp: boolean;
}

type CounterName = Exclude<
  { [K in keyof Counters]: Counters[K] extends bigint ? K : never }[keyof Counters],
  undefined
>;

interface CounterFamily {
  readonly name: string;
  readonly help: string;
  /** Which subjects have it; absent: all. */
  readonly of?: 'tcp' | 'udp' | 'datagrams' | 'policy';
  /** Label added to each sample with its counter. */
  readonly label?: string;
  readonly counters: Readonly<Record<string, CounterName>>;
  /** They count microseconds, and are written as seconds. */
  readonly time?: true;
}

const bytes = { received: 'bytesReceived', sent: 'bytesSent' } as const;
const backendFamilies: readonly CounterFamily[] = [
  {
    name: 'tcp_bytes_total',
    help: 'Bytes relayed for TCP: received from clients, sent to clients.',
    of: 'tcp',
    label: 'direction',
    counters: bytes,
  },
  { name: 'tcp_connections_total', help: 'TCP connections opened.', of: 'tcp', counters: { '': 'connectionsOpened' } },
  {
    name: 'udp_bytes_total',
    help: 'Bytes relayed for UDP: received from clients, sent to clients.',
    of: 'udp',
    label: 'direction',
    counters: bytes,
  },
  { name: 'udp_sessions_total', help: 'UDP sessions opened.', of: 'udp', counters: { '': 'connectionsOpened' } },
  {
    name: 'udp_packets_total',
    help: 'Datagrams relayed: received from clients, sent to clients.',
    of: 'datagrams',
    label: 'direction',
    counters: { received: 'udpPacketsReceived', sent: 'udpPacketsSent' },
  },
  { name: 'udp_packets_dropped_total', help: 'Datagrams dropped.', of: 'datagrams', counters: { '': 'udpDropped' } },
  {
    name: 'connect_failures_total',
    help: 'Attempts to connect to a backend that failed.',
    counters: { '': 'connectFailures' },
  },
  {
    name: 'connect_retries_total',
    help: 'Attempts to connect to a further backend after a failure.',
    counters: { '': 'connectRetries' },
  },
  {
    name: 'resets_total',
    help: 'Connections ended by a reset, by who reset.',
    label: 'by',
    counters: { client: 'resetsClient', backend: 'resetsBackend' },
  },
  { name: 'idle_timeouts_total', help: 'Connections closed because nothing moved.', counters: { '': 'idleTimeouts' } },
];
const serviceFamilies: readonly CounterFamily[] = [
  { name: 'rejected_total', help: 'Connections and sessions rejected by a limit.', counters: { '': 'rejected' } },
  {
    name: 'no_backend_total',
    help: 'Connections and sessions for which no backend was left.',
    counters: { '': 'noBackend' },
  },
];
const policyFamilies: readonly CounterFamily[] = [
  {
    name: 'policy_throttled_bytes_total',
    help: 'Bytes of TCP connections that waited for the rate of a traffic policy.',
    of: 'policy',
    counters: { '': 'throttledBytes' },
  },
  {
    name: 'policy_throttled_seconds_total',
    help: 'Time that directions of TCP connections waited for the rate of a traffic policy.',
    of: 'policy',
    counters: { '': 'throttledUs' },
    time: true,
  },
  {
    name: 'policy_datagrams_total',
    help: 'Datagrams (in XDP and tc packets of TCP, too) over the rate of a traffic policy: dropped, or marked CE.',
    of: 'policy',
    label: 'action',
    counters: { dropped: 'rateDropped', marked: 'ecnMarked' },
  },
  {
    name: 'policy_refused_total',
    help: 'Connections and sessions over the rate of a traffic policy; in XDP and tc their first packets.',
    of: 'policy',
    counters: { '': 'rateRefused' },
  },
];
const healthFamilies: readonly CounterFamily[] = [
  {
    name: 'backend_health_checks_total',
    help: 'Active probes of the backend, by result.',
    label: 'result',
    counters: { passed: 'healthPassed', failed: 'healthFailed' },
  },
  {
    name: 'backend_ejections_total',
    help: 'Ejections of the backend for what real traffic saw.',
    counters: { '': 'ejections' },
  },
];

const pieceBytes = 64 * 1024;
const servicesPerTurn = 500;
/** A histogram is 22 lines: with more active backends than this they have none (marcher_backend_histograms says so). */
const backendHistogramsMax = 5000;

export class Metrics {
  private readonly useCases: UseCases;
  /** Whether a service is UDP only, until the configuration changes. */
  private udpOnly = new Map<string, boolean>();
  private udpOnlyVersion = -1n;

  constructor(useCases: UseCases) {
    this.useCases = useCases;
  }

  async *text(): AsyncIterable<string> {
    let piece = '';
    for await (const lines of this.lines()) {
      piece += lines;
      if (piece.length < pieceBytes) continue;
      yield piece;
      piece = '';
      await new Promise((resolve) => setImmediate(resolve));
    }
    yield piece;
  }

  private async *lines(): AsyncIterable<string> {
    yield* this.nodeLines();
    const services: Subject[] = [];
    const backends: Subject[] = [];
    let seen = 0;
    for (const { service, counters, backends: its } of this.useCases.traffic.stats('', true)) {
      if (++seen % servicesPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
      const name = ['service', service] as const;
      if (counters !== undefined && active(counters)) services.push(this.subject(service, [name], counters));
      for (const { backend, counters: own } of its) {
        if (own !== undefined && active(own)) backends.push(this.subject(service, [name, ['backend', backend]], own));
      }
    }
    for (const family of [...backendFamilies, ...serviceFamilies, ...policyFamilies])
      yield* counterLines('marcher_', family, services);
    for (const family of backendFamilies) yield* counterLines('marcher_backend_', family, backends);
    for (const family of healthFamilies) yield* counterLines('marcher_', family, backends);
    yield* gaugeLines('marcher_tcp_connections_active', 'TCP connections open now.', services, 'tcp');
    yield* gaugeLines('marcher_udp_sessions_active', 'UDP sessions open now.', services, 'udp');
    yield* gaugeLines(
      'marcher_backend_tcp_connections_active',
      'TCP connections to the backend open now.',
      backends,
      'tcp',
    );
    yield* gaugeLines(
      'marcher_backend_udp_sessions_active',
      'UDP sessions with the backend open now.',
      backends,
      'udp',
    );
    yield* connectLines('marcher_connect_duration_seconds', 'Time to connect to a backend.', services);
    const withHistograms = backends.length <= backendHistogramsMax;
    yield header('marcher_backend_histograms', 'gauge', '0 when active backends are too many for a histogram each.') +
      sample('marcher_backend_histograms', '', Number(withHistograms));
    if (withHistograms) {
      yield* connectLines('marcher_backend_connect_duration_seconds', 'Time to connect to the backend.', backends);
    }
    yield* this.certificateLines();
    yield* this.packetLines();
    yield* this.healthLines();
  }

  private subject(service: string, labels: Labels, counters: Counters): Subject {
    const { config } = this.useCases;
    if (this.udpOnlyVersion !== config.version) {
      this.udpOnly = new Map();
      this.udpOnlyVersion = config.version;
    }
    let udp = this.udpOnly.get(service);
    if (udp === undefined) {
      const listeners = config.get(service)?.service?.listeners ?? [];
      udp = listeners.length > 0 && listeners.every(({ protocol }) => protocol === Protocol.UDP);
      this.udpOnly.set(service, udp);
    }
    return { labels, text: labelText(labels), counters, udp };
  }

  private *nodeLines(): Iterable<string> {
    const status = this.useCases.node.status();
    const gauge = (name: string, help: string, value: number | bigint): string =>
      header(name, 'gauge', help) + sample(name, '', value);
    yield header('marcher_build_info', 'gauge', 'Versions of agent and engine.') +
      sample(
        'marcher_build_info',
        labelText([
          ['node', status.nodeName],
          ['version', status.version],
          ['engine_version', status.engine?.version ?? ''],
        ]),
        1,
      );
    yield gauge(
      'marcher_ready',
      '1 when the node is ready for traffic.',
      Number(this.useCases.node.unreadiness().length === 0),
    );
    yield gauge('marcher_draining', '1 when the node is drained.', Number(status.draining));
    yield gauge('marcher_config_version', 'Version of the configuration.', status.configVersion);
    yield gauge('marcher_services', 'Services configured.', status.services);
    yield gauge('marcher_listeners', 'Listeners configured.', status.listeners);
    yield gauge('marcher_backends', 'Backends configured.', status.backends);
    yield header('marcher_events_dropped_total', 'counter', 'Events lost because a ring was full.') +
      sample('marcher_events_dropped_total', '', this.useCases.traffic.eventsDropped);
    const { engine } = status;
    yield gauge('marcher_engine_up', '1 when the engine runs and answers.', Number(engine?.running ?? false));
    if (engine === undefined) return;
    yield header('marcher_engine_restarts_total', 'counter', 'Restarts of the engine after a crash or hang.') +
      sample('marcher_engine_restarts_total', '', engine.restarts);
    yield gauge(
      'marcher_engine_snapshot_generation',
      'Version of the configuration that the engine serves.',
      engine.generation,
    );
    yield gauge('marcher_engine_workers', 'Worker threads of the engine.', engine.workers);
    yield gauge('marcher_engine_resident_memory_bytes', 'Memory of the engine.', engine.memoryBytes);
    if (engine.started !== undefined) {
      yield gauge(
        'marcher_engine_start_time_seconds',
        'When the engine started, in seconds since 1970.',
        Number(engine.started.seconds) + engine.started.nanos / 1e9,
      );
    }
  }

  /** A line for each, of which a mesh has 1,000 at most. */
  private *certificateLines(): Iterable<string> {
    const certificates = this.useCases.certificates?.list() ?? [];
    if (certificates.length === 0) return;
    const name = 'marcher_certificate_not_after_seconds';
    yield header(name, 'gauge', 'When the certificate of a service ends, in seconds since 1970.');
    for (const { name: certificate, source, facts } of certificates) {
      const labels = labelText([
        ['name', certificate],
        ['source', source],
      ]);
      yield sample(name, labels, facts.leaf.notAfterMs / 1_000);
    }
  }

  private *packetLines(): Iterable<string> {
    const { backends, drops } = this.useCases.traffic.packets();
    const rows = backends
      .filter(({ packets }) => packets > 0n)
      .map(({ tier, service, backend, packets, bytes, returnedPackets, returnedBytes }) => ({
        text: labelText([
          ['tier', tier],
          ['service', service],
          ['backend', backend],
        ]),
        packets,
        bytes,
        returnedPackets,
        returnedBytes,
      }));
    if (rows.length > 0) {
      yield header(
        'marcher_packet_forwarded_packets_total',
        'counter',
        'Packets from clients that XDP or tc forwarded.',
      );
      for (const { text, packets } of rows) yield sample('marcher_packet_forwarded_packets_total', text, packets);
      yield header(
        'marcher_packet_forwarded_bytes_total',
        'counter',
        'Bytes of those packets, with their Ethernet headers.',
      );
      for (const { text, bytes } of rows) yield sample('marcher_packet_forwarded_bytes_total', text, bytes);
    }
    const answered = rows.filter(({ returnedPackets }) => returnedPackets > 0n);
    if (answered.length > 0) {
      yield header('marcher_packet_returned_packets_total', 'counter', 'Packets from the backend that tc translated.');
      for (const { text, returnedPackets } of answered) {
        yield sample('marcher_packet_returned_packets_total', text, returnedPackets);
      }
      yield header(
        'marcher_packet_returned_bytes_total',
        'counter',
        'Bytes of those packets, with their Ethernet headers.',
      );
      for (const { text, returnedBytes } of answered) {
        yield sample('marcher_packet_returned_bytes_total', text, returnedBytes);
      }
    }
    if (drops.length > 0) {
      yield header('marcher_packet_dropped_packets_total', 'counter', 'Packets that XDP and tc dropped, by reason.');
      for (const { reason, packets } of drops) {
        yield sample('marcher_packet_dropped_packets_total', labelText([['reason', reason]]), packets);
      }
    }
  }

  private async *healthLines(): AsyncIterable<string> {
    const backends = await this.useCases.node.backends('');
    const rows = backends.map((backend) => ({
      backend,
      text: labelText([
        ['service', backend.service],
        ['backend', backend.backend],
      ]),
    }));
    yield header(
      'marcher_backend_up',
      'gauge',
      '1 when an address of the backend is healthy (or not checked) and not ejected.',
    );
    for (const { backend, text } of rows) {
      const up = backend.endpoints.some(({ health, ejected }) => health !== Health.UNHEALTHY && !ejected);
      yield sample('marcher_backend_up', text, Number(up));
    }
    yield header('marcher_backend_draining', 'gauge', '1 when the backend takes no new connections.');
    for (const { backend, text } of rows) yield sample('marcher_backend_draining', text, Number(backend.draining));
    yield header('marcher_backend_weight', 'gauge', 'Configured weight of the backend.');
    for (const { backend, text } of rows) yield sample('marcher_backend_weight', text, backend.weight);
    const shared = rows.filter(({ backend }) => backend.elsewhere !== undefined);
    if (shared.length === 0) return;
    yield header(
      'marcher_backend_elsewhere_connections',
      'gauge',
      'Connections to the backend open at other nodes of the mesh, as they say, of services with loadOf: mesh.',
    );
    for (const { backend, text } of shared) {
      yield sample('marcher_backend_elsewhere_connections', text, backend.elsewhere ?? 0n);
    }
  }
}

/** Ever had traffic, a failure or a probe: anything but zeros. */
function active(counters: Counters): boolean {
  return (
    counters.connectionsOpened > 0n ||
    counters.udpPacketsReceived > 0n ||
    counters.connectFailures > 0n ||
    counters.rejected > 0n ||
    counters.noBackend > 0n ||
    counters.healthPassed > 0n ||
    counters.healthFailed > 0n ||
    counters.ejections > 0n ||
    underPolicy(counters)
  );
}

function underPolicy({ throttledUs, rateDropped, rateRefused, ecnMarked }: Counters): boolean {
  return throttledUs > 0n || rateDropped > 0n || rateRefused > 0n || ecnMarked > 0n;
}

function has(family: CounterFamily, subject: Subject): boolean {
  if (family.of === undefined) return true;
  if (family.of === 'policy') return underPolicy(subject.counters);
  if (family.of === 'datagrams') return subject.udp || subject.counters.udpPacketsReceived > 0n;
  return (family.of === 'udp') === subject.udp;
}

function* counterLines(prefix: string, family: CounterFamily, subjects: readonly Subject[]): Iterable<string> {
  const name = prefix + family.name;
  const samples = Object.entries(family.counters);
  let begun = false;
  for (const subject of subjects) {
    if (!has(family, subject)) continue;
    let lines = begun ? '' : header(name, 'counter', family.help);
    begun = true;
    for (const [value, counter] of samples) {
      const labels = family.label === undefined ? subject.text : labelText([...subject.labels, [family.label, value]]);
      const total = subject.counters[counter];
      lines += sample(name, labels, family.time ? Number(total) / 1e6 : total);
    }
    yield lines;
  }
}

function* gaugeLines(name: string, help: string, subjects: readonly Subject[], of: 'tcp' | 'udp'): Iterable<string> {
  let begun = false;
  for (const { text, counters, udp } of subjects) {
    if (udp !== (of === 'udp')) continue;
    // Workers count on their own; a close may be seen before its open.
    const open = counters.connectionsOpened - counters.connectionsClosed;
    yield (begun ? '' : header(name, 'gauge', help)) + sample(name, text, open < 0n ? 0n : open);
    begun = true;
  }
}

function* connectLines(name: string, help: string, subjects: readonly Subject[]): Iterable<string> {
  let begun = false;
  for (const { labels, counters } of subjects) {
    if (counters.connectTimeUs.every((count) => count === 0n)) continue;
    yield (begun ? '' : header(name, 'histogram', help)) +
      histogram(name, labels, counters.connectTimeUs, counters.connectTimeUsSum);
    begun = true;
  }
}
