// SPDX-License-Identifier: Apache-2.0
import type { ServiceResource } from '@marcher/proto/marcher/v1/config_service_pb';
import type { Listener, Service } from '@marcher/proto/marcher/v1/model_pb';
import {
  type BackendStatus,
  BackendStatusSchema,
  Health,
  type StatusResponse,
  StatusResponseSchema,
} from '@marcher/proto/marcher/v1/node_service_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { age, plural, timeMs } from '../output/quantity.js';
import { writeMessages, writeValue } from '../output/structured.js';
import { type Column, formatTable } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { parseKind } from './kind.js';
import {
  algorithmText,
  healthCheckText,
  isWrong,
  labelsText,
  listenersText,
  listServices,
  portsText,
  protocolName,
  stateText,
} from './services.js';

export interface GetOptions extends TargetOptions {
  readonly output: 'table' | 'wide' | 'json' | 'yaml';
  readonly label?: string[];
}

export async function get(session: Session, options: GetOptions, kindText: string, name?: string): Promise<undefined> {
  const kind = parseKind(kindText, ['services', 'backends', 'listeners', 'guards', 'policies', 'nodes']);
  if (options.label !== undefined && kind !== 'services') throw usage('--label selects services only');
  switch (kind) {
    case 'services':
      return await getServices(session, options, name);
    case 'backends':
      return await getBackends(session, options, name);
    case 'listeners':
      return await getListeners(session, options, name);
    case 'guards':
    case 'policies': {
      const { getObjects } = await import('./objects.js');
      return await getObjects(session, options, kind, name);
    }
    case 'nodes':
      return await getNodes(session, options, name);
  }
}

async function readServices(
  session: Session,
  options: GetOptions,
  name: string | undefined,
): Promise<ServiceResource[]> {
  const agent = await session.agent(options);
  const call = session.call(options);
  if (name !== undefined) {
    const { resource } = await agent.config.get({ name }, call);
    return resource === undefined ? [] : [resource];
  }
  const labels: Record<string, string> = {};
  for (const text of options.label ?? []) {
    const [key, ...value] = text.split('=');
    if (!key || value.length === 0) throw usage(`--label is "${text}": expected KEY=VALUE`);
    labels[key] = value.join('=');
  }
  const resources: ServiceResource[] = [];
  for await (const resource of listServices(agent, labels, call)) resources.push(resource);
  return resources;
}

async function getServices(session: Session, options: GetOptions, name: string | undefined): Promise<undefined> {
  const resources = await readServices(session, options, name);
  if (options.output === 'json' || options.output === 'yaml') {
    // The file form, so that what is printed can be edited and applied.
    const { ConfigurationSchema, printConfiguration } = await import('@marcher/model');
    const { create } = await import('@bufbuild/protobuf');
    const configuration = create(ConfigurationSchema);
    configuration.services = resources.flatMap(({ service }) => service ?? []);
    const text = printConfiguration(configuration, options.output);
    await session.write(text.endsWith('\n') ? text : `${text}\n`);
    return;
  }
  await writeTable(session, serviceColumns(session, options.output === 'wide'), resources, 'services');
}

export function serviceColumns(session: Session, wide: boolean): Column<ServiceResource>[] {
  const { style } = session;
  return [
    { title: 'NAME', value: ({ service }) => service?.name ?? '' },
    { title: 'LISTENERS', value: ({ service }) => listenersText(service) },
    { title: 'BACKENDS', value: ({ service }) => String(service?.backends.length ?? 0), align: 'right' },
    { title: 'ALGORITHM', value: ({ service }) => algorithmText(service) },
    { title: 'VERSION', value: ({ generation }) => String(generation), align: 'right' },
    ...(wide
      ? ([
          { title: 'HEALTH', value: ({ service }) => healthCheckText(service) },
          { title: 'POLICY', value: ({ service }) => service?.trafficPolicy || '-' },
          { title: 'CLUSTER', value: ({ service }) => service?.cluster || '-' },
          { title: 'LABELS', value: ({ service }) => labelsText(service?.labels ?? {}) },
        ] satisfies Column<ServiceResource>[])
      : []),
    {
      title: 'STATE',
      value: (resource) => stateText(resource, wide),
      paint: (text, resource) => (isWrong(resource) ? style.red(text) : style.green(text)),
    },
  ];
}

async function getBackends(session: Session, options: GetOptions, service: string | undefined): Promise<undefined> {
  const agent = await session.agent(options);
  const { backends } = await agent.node.backends({ service: service ?? '' }, session.call(options));
  if (await writeMessages(session, options, BackendStatusSchema, backends)) return;
  await writeTable(session, backendColumns(session, options.output === 'wide'), backends, 'backends');
}

export function backendHealth({ draining, endpoints }: BackendStatus): string {
  const states = new Set(
    endpoints.map((endpoint) => (endpoint.ejected ? 'ejected' : (Health[endpoint.health] ?? 'UNKNOWN').toLowerCase())),
  );
  const healthy = endpoints.filter((endpoint) => endpoint.health === Health.HEALTHY && !endpoint.ejected).length;
  const health =
    endpoints.length === 0
      ? 'unresolved'
      : states.size === 1
        ? [...states][0]
        : `${healthy}/${endpoints.length} healthy`;
  return draining ? `draining, ${health}` : `${health}`;
}

export function backendColumns(session: Session, wide: boolean): Column<BackendStatus>[] {
  const { style } = session;
  return [
    { title: 'SERVICE', value: (backend) => backend.service },
    { title: 'BACKEND', value: (backend) => backend.backend },
    { title: 'WEIGHT', value: (backend) => String(backend.weight), align: 'right' },
    { title: 'CONNECTIONS', value: (backend) => String(backend.connections), align: 'right' },
    {
      title: 'HEALTH',
      value: backendHealth,
      paint: (text) =>
        text === 'healthy' ? style.green(text) : /unhealthy|ejected/.test(text) ? style.red(text) : text,
    },
    ...(wide
      ? ([
          { title: 'ELSEWHERE', value: ({ elsewhere }) => String(elsewhere ?? '-'), align: 'right' },
          { title: 'ENDPOINTS', value: ({ endpoints }) => endpoints.map(({ address }) => address).join(' ') || '-' },
          {
            title: 'REASON',
            value: ({ endpoints }) =>
              [...new Set(endpoints.map(({ reason }) => reason).filter(Boolean))].join('; ') || '-',
          },
        ] satisfies Column<BackendStatus>[])
      : []),
  ];
}

async function getListeners(session: Session, options: GetOptions, name: string | undefined): Promise<undefined> {
  const resources = await readServices(session, options, name);
  const rows = resources.flatMap(({ service }) =>
    (service?.listeners ?? []).map((listener) => ({ service, listener })),
  );
  if (options.output === 'json' || options.output === 'yaml') {
    await writeValue(
      session,
      options.output,
      rows.map(({ service, listener }) => ({
        service: service?.name ?? '',
        protocol: protocolName(listener.protocol),
        address: listener.address,
        ports: listener.ports.map(({ first, last }) => ({ first, last: last || first })),
        acceptProxyFrom: listener.acceptProxyFrom,
        ...(listener.maxConnections === undefined ? {} : { maxConnections: listener.maxConnections }),
      })),
    );
    return;
  }
  const columns: Column<{ service: Service | undefined; listener: Listener }>[] = [
    { title: 'SERVICE', value: ({ service }) => service?.name ?? '' },
    { title: 'PROTOCOL', value: ({ listener }) => protocolName(listener.protocol) },
    { title: 'ADDRESS', value: ({ listener }) => listener.address || '*' },
    { title: 'PORTS', value: ({ listener }) => portsText(listener) },
  ];
  if (options.output === 'wide') {
    columns.push(
      { title: 'PROXY-FROM', value: ({ listener }) => listener.acceptProxyFrom.join(',') || '-' },
      { title: 'MAX-CONNECTIONS', value: ({ listener }) => String(listener.maxConnections ?? '-') },
    );
  }
  await writeTable(session, columns, rows, 'listeners');
}

async function getNodes(session: Session, options: GetOptions, name: string | undefined): Promise<undefined> {
  const agent = await session.agent(options);
  const status = await agent.node.status({}, session.call(options));
  if (name !== undefined && name !== status.nodeName) {
    throw new Failure(ExitCode.notFound, `there is no node "${name}": this agent is "${status.nodeName}"`);
  }
  if (await writeMessages(session, options, StatusResponseSchema, [status])) return;
  const now = Date.now();
  const columns: Column<StatusResponse>[] = [
    { title: 'NAME', value: ({ nodeName }) => nodeName },
    {
      title: 'STATUS',
      value: ({ ready, draining }) => `${ready ? 'ready' : 'not ready'}${draining ? ', draining' : ''}`,
      paint: (text, { ready }) => (ready ? session.style.green(text) : session.style.red(text)),
    },
    { title: 'SERVICES', value: ({ services }) => String(services), align: 'right' },
    { title: 'CONFIG', value: ({ configVersion }) => String(configVersion), align: 'right' },
    { title: 'AGE', value: ({ started }) => age(now - (timeMs(started) ?? now)) },
    { title: 'VERSION', value: ({ version }) => version },
  ];
  if (options.output === 'wide') {
    columns.push(
      { title: 'REGION', value: ({ region }) => region || '-' },
      { title: 'COUNTRY', value: ({ country }) => country || '-' },
      { title: 'ENGINE', value: ({ engine }) => (engine?.running ? `pid ${engine.pid}` : 'down') },
      { title: 'RESTARTS', value: ({ engine }) => String(engine?.restarts ?? 0), align: 'right' },
    );
  }
  await writeTable(session, columns, [status], 'nodes');
}

export async function writeTable<Row>(
  session: Session,
  columns: Column<Row>[],
  rows: readonly Row[],
  what: string,
): Promise<void> {
  if (rows.length === 0) {
    // Standard output stays empty, so that scripts that count lines are right.
    process.stderr.write(`There are no ${what}.\n`);
    return;
  }
  await session.write(formatTable(columns, rows));
  if (process.stdout.isTTY && rows.length > 40)
    process.stderr.write(`${plural(rows.length, what.slice(0, -1), what)}\n`);
}
