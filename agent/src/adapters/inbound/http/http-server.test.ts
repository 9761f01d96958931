// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ChangeSchema, ConditionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { Protocol } from '@marcher/proto/marcher/v1/model_pb';
import { CountersSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CertificateUseCases } from '../../../ports/certificates.js';
import { InMemoryUseCases } from '../testing/in-memory-use-cases.js';
import { createHttpServer, type HttpServer } from './http-server.js';
import { Metrics } from './metrics.js';

const silent = { info: () => undefined, error: () => undefined };
let useCases: InMemoryUseCases;
let server: HttpServer;
let base: string;

beforeEach(async () => {
  useCases = new InMemoryUseCases();
  server = createHttpServer({ useCases, host: '127.0.0.1', port: 0, logger: silent });
  await server.start();
  base = `http://127.0.0.1:${server.address?.port}`;
});

afterEach(async () => await server.stop());

async function apply(...upsert: object[]): Promise<void> {
  await useCases.config.apply(
    create(ChangeSchema, { upsert }),
    { expectedVersion: 0n, message: '', omitDiff: true },
    { author: 'test', origin: 'api' },
  );
}

/**
 * The format's grammar and promtool's lint rules: HELP and TYPE before samples, each family in one block, no sample
 * twice, counters end in _total, cumulative histogram buckets that end in +Inf with sum and count.
 */
function checkExposition(text: string): Map<string, string> {
  expect(text.endsWith('\n')).toBe(true);
  const types = new Map<string, string>();
  const values = new Map<string, string>();
  const blocks: string[] = [];
  for (const line of text.trimEnd().split('\n')) {
    const meta = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line);
    if (meta !== null) {
      const [, what, name = '', rest = ''] = meta;
      if (what === 'HELP') expect(rest.trim(), line).not.toBe('');
      if (what === 'TYPE') {
        expect(types.has(name), `TYPE of ${name} twice`).toBe(false);
        types.set(name, rest);
        blocks.push(name);
        if (rest === 'counter') expect(name, 'a counter').toMatch(/_total$/);
        else expect(name, 'no counter').not.toMatch(/_total$/);
      }
      continue;
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$/.exec(line);
    expect(sample, `not a sample: ${line}`).not.toBeNull();
    const [, name = '', labels = '', value = ''] = sample ?? [];
    expect(Number.isNaN(Number(value)) && value !== 'Nan' && value !== '+Inf', line).toBe(false);
    const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
    expect(types.has(family), `${name} without TYPE`).toBe(true);
    expect(blocks.at(-1), `${name} outside of its family's block`).toBe(family);
    expect(values.has(name + labels), `${name}${labels} twice`).toBe(false);
    values.set(name + labels, value);
  }
  return values;
}

const counters = (init: object) => create(CountersSchema, init);
const histogram = (...entries: [number, bigint][]): bigint[] => {
  const counts = Array.from({ length: 32 }, () => 0n);
  for (const [bucket, count] of entries) counts[bucket] = count;
  return counts;
};

test('metrics of XDP and tc, by tier and backend and by reason', async () => {
  const read = async () => checkExposition(await (await fetch(`${base}/metrics`)).text());
  expect([...(await read()).keys()].filter((name) => name.includes('packet_'))).toEqual([]);
  useCases.packetTraffic = {
    backends: [
      { tier: 'tc', service: 'web', backend: 'a', packets: 7n, bytes: 700n, returnedPackets: 9n, returnedBytes: 900n },
      { tier: 'xdp', service: 'dns', backend: 'b', packets: 1n, bytes: 60n, returnedPackets: 0n, returnedBytes: 0n },
      { tier: 'tc', service: 'web', backend: 'idle', packets: 0n, bytes: 0n, returnedPackets: 0n, returnedBytes: 0n },
    ],
    drops: [{ reason: 'no-backend', packets: 3n }],
  };
  expect([...(await read())].filter(([name]) => name.includes('marcher_packet_'))).toEqual([
    ['marcher_packet_forwarded_packets_total{tier="tc",service="web",backend="a"}', '7'],
    ['marcher_packet_forwarded_packets_total{tier="xdp",service="dns",backend="b"}', '1'],
    ['marcher_packet_forwarded_bytes_total{tier="tc",service="web",backend="a"}', '700'],
    ['marcher_packet_forwarded_bytes_total{tier="xdp",service="dns",backend="b"}', '60'],
    ['marcher_packet_returned_packets_total{tier="tc",service="web",backend="a"}', '9'],
    ['marcher_packet_returned_bytes_total{tier="tc",service="web",backend="a"}', '900'],
    ['marcher_packet_dropped_packets_total{reason="no-backend"}', '3'],
  ]);
});

describe('health', () => {
  test('healthz answers while the process turns', async () => {
    const response = await fetch(`${base}/healthz`);
    expect([response.status, await response.text()]).toEqual([200, 'ok\n']);
  });

  test('readyz tells why the node is not ready', async () => {
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    useCases.unready = [
      create(ConditionSchema, { type: 'EngineRunning', reason: 'Crashed', message: 'engine: exit 139' }),
    ];
    const response = await fetch(`${base}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      ready: false,
      conditions: [{ type: 'EngineRunning', reason: 'Crashed', message: 'engine: exit 139' }],
    });
  });

  test('other paths and methods are refused', async () => {
    expect((await fetch(`${base}/`)).status).toBe(404);
    const post = await fetch(`${base}/metrics`, { method: 'POST', body: 'x' });
    expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    expect((await fetch(`${base}/metrics`, { method: 'HEAD' })).status).toBe(200);
  });

  test('a port in use is named in the error', async () => {
    const { port = 0 } = server.address ?? {};
    const other = createHttpServer({ useCases, host: '127.0.0.1', port, logger: silent });
    await expect(other.start()).rejects.toThrow(/another process has the port/);
  });
});

describe('metrics', () => {
  test('say when each certificate of a service ends', async () => {
    const ends = (name: string, source: string, notAfterMs: number) => ({
      name,
      source,
      facts: { leaf: { notAfterMs } },
    });
    const list = () => [ends('api', 'issued', 1_795_000_000_000), ends('shop', 'imported', 1_800_000_000_500)];
    const { config, node, traffic } = useCases;
    const certificates = { list } as unknown as CertificateUseCases;
    let text = '';
    for await (const piece of new Metrics({ config, node, traffic, certificates }).text()) text += piece;
    const values = checkExposition(text);
    expect(values.get('marcher_certificate_not_after_seconds{name="api",source="issued"}')).toBe('1795000000');
    expect(values.get('marcher_certificate_not_after_seconds{name="shop",source="imported"}')).toBe('1800000000.5');
  });

  test('are clean, and count TCP and UDP apart', async () => {
    await apply(
      { name: 'web', listeners: [{ protocol: Protocol.TCP }], backends: [{ address: '10.0.0.1:80' }] },
      { name: 'dns', listeners: [{ protocol: Protocol.UDP }], backends: [{ address: '10.0.0.2:53' }] },
      { name: 'idle', listeners: [{ protocol: Protocol.TCP }], backends: [{ address: '10.0.0.3:80' }] },
    );
    const tcp = counters({
      connectionsOpened: 10n,
      connectionsClosed: 7n,
      bytesReceived: 100n,
      bytesSent: 2000n,
      connectTimeUs: histogram([0, 1n], [6, 4n], [10, 4n], [31, 1n]),
      connectTimeUsSum: 5_000_000n,
    });
    useCases.counters.set('web', tcp);
    useCases.counters.set('web/10.0.0.1:80', tcp);
    useCases.counters.set('dns', counters({ connectionsOpened: 2n, udpPacketsReceived: 5n, udpPacketsSent: 4n }));
    const response = await fetch(`${base}/metrics`);
    expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    const values = checkExposition(await response.text());
    expect(values.get('marcher_tcp_bytes_total{service="web",direction="sent"}')).toBe('2000');
    expect(
      values.get('marcher_backend_tcp_bytes_total{service="web",backend="10.0.0.1:80",direction="received"}'),
    ).toBe('100');
    expect(values.get('marcher_tcp_connections_total{service="web"}')).toBe('10');
    expect(values.get('marcher_tcp_connections_active{service="web"}')).toBe('3');
    expect(values.has('marcher_tcp_connections_total{service="dns"}')).toBe(false);
    expect(values.get('marcher_udp_packets_total{service="dns",direction="received"}')).toBe('5');
    expect(values.get('marcher_udp_sessions_active{service="dns"}')).toBe('2');
    expect(values.get('marcher_backend_up{service="idle",backend="10.0.0.3:80"}')).toBe('1');
    expect(values.has('marcher_tcp_connections_total{service="idle"}')).toBe(false);
    expect(values.get('marcher_engine_restarts_total')).toBe('1');
    expect(values.get('marcher_config_version')).toBe('1');
    expect(values.get('marcher_events_dropped_total')).toBe('5');
    expect([...values.keys()].some((name) => name.startsWith('marcher_agent_process_resident_memory_bytes'))).toBe(
      true,
    );
    const bucket = (le: string) => values.get(`marcher_connect_duration_seconds_bucket{service="web",le="${le}"}`);
    expect([bucket('0.000064'), bucket('0.000128'), bucket('0.002048'), bucket('+Inf')]).toEqual(['1', '5', '9', '10']);
    expect(values.get('marcher_connect_duration_seconds_sum{service="web"}')).toBe('5');
    expect(values.get('marcher_connect_duration_seconds_count{service="web"}')).toBe('10');
  });

  test('what other nodes have open to a backend is there for services that ask for it, and only for them', async () => {
    const elsewhere = async () => {
      const values = checkExposition(await (await fetch(`${base}/metrics`)).text());
      return [...values].filter(([name]) => name.startsWith('marcher_backend_elsewhere'));
    };
    await apply(
      { name: 'web', backends: [{ name: 'b1', address: '10.0.0.1:80' }] },
      { name: 'alone', backends: [{ name: 'b2', address: '10.0.0.2:80' }] },
    );
    expect(await elsewhere()).toEqual([]);
    useCases.elsewhere = { b1: 7n };
    expect(await elsewhere()).toEqual([['marcher_backend_elsewhere_connections{service="web",backend="b1"}', '7']]);
  });

  test('names that need escaping stay one label', async () => {
    await apply({ name: 'web', backends: [{ address: 'unix:/tmp/a"b\\c\nd' }] });
    useCases.counters.set('web/unix:/tmp/a"b\\c\nd', counters({ connectionsOpened: 1n }));
    const values = checkExposition(await (await fetch(`${base}/metrics`)).text());
    expect(values.get('marcher_backend_tcp_connections_total{service="web",backend="unix:/tmp/a\\"b\\\\c\\nd"}')).toBe(
      '1',
    );
  });

  test('a scraper that leaves frees its place', async () => {
    await apply(
      ...Array.from({ length: 500 }, (_, i) => ({ name: `s${i}`, backends: [{ address: 'a:1' }, { address: 'b:1' }] })),
    );
    for (let i = 0; i < 5; i++) {
      const leave = new AbortController();
      const response = await fetch(`${base}/metrics`, { signal: leave.signal });
      await response.body?.getReader().read();
      leave.abort();
    }
    await expect.poll(async () => (await fetch(`${base}/metrics`)).status).toBe(200);
  });
});
