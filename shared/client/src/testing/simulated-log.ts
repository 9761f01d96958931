// SPDX-License-Identifier: Apache-2.0
/** Connections and log entries of a simulated agent: one a second, of services that have traffic. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  type Connection,
  ConnectionSchema,
  LogKind,
  type LogsRequest,
  type LogsResponse,
  LogsResponseSchema,
} from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { SimulatedAgent } from './simulated-agent.js';

const SHOWN_MAX = 20;
const ENTRY_EVERY_MS = 1_000;

export function connectionsOf(agent: SimulatedAgent, service: string): Connection[] {
  const nowMs = agent.clock.nowMs();
  const names = service === '' ? [...agent.traffic.moving()] : [service];
  return names.flatMap((name) => {
    const backend = agent.configuration.service(name)?.backends[0];
    if (backend === undefined) return [];
    const open = Math.min(SHOWN_MAX, agent.traffic.open(name, nowMs));
    return Array.from({ length: open }, (_, at) =>
      create(ConnectionSchema, {
        id: BigInt(at + 1),
        service: name,
        backend: backend.name,
        client: `198.51.100.${at + 1}:${40_000 + at}`,
        local: '192.0.2.1:80',
        upstream: backend.address,
        transport: 'tcp',
        opened: timestampFromMs(nowMs - at * 100),
        bytesReceived: 800n,
        bytesSent: 12_000n,
        state: 'established',
      }),
    );
  });
}

/** The last ones, then one each second. */
export async function* logsOf(
  agent: SimulatedAgent,
  { service, tail, follow }: LogsRequest,
  sleep: (ms: number) => Promise<void>,
  signal: AbortSignal,
): AsyncIterable<LogsResponse> {
  const nowMs = agent.clock.nowMs();
  const past = tail === 0 ? 100 : tail;
  for (let at = past; at > 0; at--) yield entry(agent, service, nowMs - at * ENTRY_EVERY_MS);
  while (follow && !signal.aborted) {
    await sleep(ENTRY_EVERY_MS);
    if (!signal.aborted && agent.condition === 'up') yield entry(agent, service, agent.clock.nowMs());
  }
}

function entry(agent: SimulatedAgent, wanted: string, timeMs: number): LogsResponse {
  const services = wanted === '' ? [...agent.traffic.moving()] : [wanted];
  const service = services[Math.floor(timeMs / ENTRY_EVERY_MS) % Math.max(1, services.length)] ?? '';
  const backend = agent.configuration.service(service)?.backends[0];
  return create(LogsResponseSchema, {
    entry: {
      time: timestampFromMs(timeMs),
      kind: LogKind.CONNECTION_CLOSED,
      service,
      backend: backend?.name ?? '',
      client: '198.51.100.7:40112',
      local: '192.0.2.1:80',
      upstream: backend?.address ?? '',
      transport: 'tcp',
      bytesReceived: 800n,
      bytesSent: 12_000n,
      durationUs: 2_570n,
      connectUs: 31n,
      reason: 'closed',
    },
  });
}
