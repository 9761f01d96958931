// SPDX-License-Identifier: Apache-2.0
/** Services on a line: how their listeners, algorithm and state are written, and reading them page by page. */
import type { AgentClient } from '@marcher/client';
import type { ServiceResource } from '@marcher/proto/marcher/v1/config_service_pb';
import {
  Algorithm,
  ForwardingMode,
  HealthCheckType,
  type Listener,
  LoadOf,
  Protocol,
  type Service,
} from '@marcher/proto/marcher/v1/model_pb';

const pageSize = 1000;

export async function* listServices(
  agent: AgentClient,
  labels: Record<string, string>,
  call: { timeoutMs: number },
): AsyncIterable<ServiceResource> {
  let pageToken = '';
  do {
    const page = await agent.config.list({ pageSize, pageToken, labels }, call);
    yield* page.resources;
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
}

export function protocolName(protocol: Protocol): string {
  return protocol === Protocol.UDP ? 'udp' : 'tcp';
}

export function portsText(listener: Listener): string {
  return listener.ports
    .map(({ first, last }) => (first === last || last === 0 ? `${first}` : `${first}-${last}`))
    .join(',');
}

/** "tcp:5001", "udp:[::1]:53", "tcp:8000-8010,9000" */
export function listenerText(listener: Listener): string {
  const address =
    listener.address === '' ? '' : listener.address.includes(':') ? `[${listener.address}]:` : `${listener.address}:`;
  return `${protocolName(listener.protocol)}:${address}${portsText(listener)}`;
}

export function listenersText(service: Service | undefined): string {
  return service === undefined || service.listeners.length === 0 ? '-' : service.listeners.map(listenerText).join(' ');
}

/** ALGORITHM_LEAST_CONNECTIONS -> "least-connections" */
export function algorithmText(service: Service | undefined): string {
  const name = Algorithm[service?.balance?.algorithm ?? Algorithm.UNSPECIFIED] ?? 'UNSPECIFIED';
  return name === 'UNSPECIFIED' ? 'default' : name.toLowerCase().replaceAll('_', '-');
}

/** " by the load of all nodes"; nothing of a service that goes by its node's own. */
export function loadText(service: Service | undefined): string {
  return service?.balance?.loadOf === LoadOf.MESH ? ' by the load of all nodes' : '';
}

export function healthCheckText(service: Service | undefined): string {
  if (service?.health === undefined) return '-';
  const { type } = service.health;
  return type === HealthCheckType.UNSPECIFIED ? 'tcp' : (HealthCheckType[type] ?? '-').toLowerCase();
}

/** ", forwarding ipip"; nothing of a service that is relayed. */
export function forwardingText(service: Service | undefined): string {
  const mode = service?.forwarding?.mode ?? ForwardingMode.UNSPECIFIED;
  const relayed = mode === ForwardingMode.UNSPECIFIED || mode === ForwardingMode.RELAY;
  return relayed ? '' : `, forwarding ${(ForwardingMode[mode] ?? String(mode)).toLowerCase()}`;
}

/** ", traffic policy gold"; nothing of a service that names none. */
export function policyText(service: Service | undefined): string {
  return service === undefined || service.trafficPolicy === '' ? '' : `, traffic policy ${service.trafficPolicy}`;
}

/** "Programmed", or the first condition that is not met: "Conflicted (port 5001 belongs to "api")". */
export function stateText(resource: Pick<ServiceResource, 'conditions'>, detailed = false): string {
  const wrong = resource.conditions.find((condition) => !condition.status);
  if (wrong !== undefined) {
    return detailed && wrong.message !== ''
      ? `${wrong.reason || wrong.type} (${wrong.message})`
      : wrong.reason || `Not${wrong.type}`;
  }
  return resource.conditions.at(-1)?.type ?? 'Unknown';
}

export function isWrong(resource: Pick<ServiceResource, 'conditions'>): boolean {
  return resource.conditions.some((condition) => !condition.status);
}

export function labelsText(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? '-' : entries.map(([key, value]) => `${key}=${value}`).join(',');
}
