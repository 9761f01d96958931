// SPDX-License-Identifier: Apache-2.0
/** Changes as they happen, one line each: rows as `kubectl get --watch` prints them, or one JSON object per line. */
import { toJson } from '@bufbuild/protobuf';
import { type WatchResponse, WatchResponseSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type BackendStatus, BackendStatusSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { WatchConnectionsResponseSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { clock } from '../output/quantity.js';
import { printable } from '../output/style.js';
import { type Session, type TargetOptions, unlessInterrupted } from '../session.js';
import { backendHealth } from './get.js';
import { nounOf, objectKinds, parseKind } from './kind.js';
import { formatEntry } from './logs.js';
import { algorithmText, listenersText, stateText } from './services.js';

interface WatchOptions extends TargetOptions {
  readonly output: 'table' | 'json';
}

/** Backends are asked for; there is no stream of them. */
const backendsIntervalMs = 1000;

export async function watch(session: Session, options: WatchOptions, kindText: string): Promise<undefined> {
  const kind = parseKind(kindText, ['services', 'guards', 'policies', 'backends', 'connections']);
  const signal = session.interrupted;
  try {
    if (kind === 'services') await watchConfiguration(session, options, signal, 'Service');
    else if (kind === 'guards' || kind === 'policies') {
      await watchConfiguration(session, options, signal, objectKinds[kind]);
    } else if (kind === 'backends') await watchBackends(session, options, signal);
    else await watchConnections(session, options, signal);
  } catch (error) {
    unlessInterrupted(error, signal);
  }
}

const event = (name: string): string => name.padEnd(8);

/** The kind that an event is about; undefined: about the stream. */
function kindOf({ event }: WatchResponse): string | undefined {
  switch (event.case) {
    case 'upsert':
    case 'remove':
      return 'Service';
    case 'upsertObject':
      return event.value.object?.object.case === 'guard' ? objectKinds.guards : objectKinds.policies;
    case 'removeObject':
      return event.value.kind;
    default:
      return undefined;
  }
}

async function watchConfiguration(
  session: Session,
  options: WatchOptions,
  signal: AbortSignal,
  kind: string,
): Promise<void> {
  const agent = await session.agent(options);
  const { style } = session;
  let synced = false;
  for await (const response of agent.config.watch({}, { signal })) {
    if ((kindOf(response) ?? kind) !== kind) continue;
    if (options.output === 'json') {
      await session.write(`${JSON.stringify(toJson(WatchResponseSchema, response, { alwaysEmitImplicit: true }))}\n`);
      continue;
    }
    switch (response.event.case) {
      case 'upsert': {
        const resource = response.event.value;
        const { service } = resource;
        await session.write(
          `${event(synced ? 'CHANGED' : 'EXISTS')} ${printable(service?.name ?? '').padEnd(24)} ${listenersText(service).padEnd(20)} ` +
            `${String(service?.backends.length ?? 0).padStart(4)} backends  ${algorithmText(service)}  ` +
            `${printable(stateText(resource, true))}  version ${resource.generation}\n`,
        );
        break;
      }
      case 'remove':
        await session.write(
          `${style.red(event('REMOVED'))} ${printable(response.event.value).padEnd(24)} version ${response.version}\n`,
        );
        break;
      case 'upsertObject': {
        const { object, generation } = response.event.value;
        const name = `${nounOf(kind)} ${printable(object?.object.value?.name ?? '')}`;
        await session.write(
          `${event(synced ? 'CHANGED' : 'EXISTS')} ${name.padEnd(32)} ` +
            `${printable(stateText(response.event.value, true))}  version ${generation}\n`,
        );
        break;
      }
      case 'removeObject': {
        const name = `${nounOf(kind)} ${printable(response.event.value.name)}`;
        await session.write(`${style.red(event('REMOVED'))} ${name.padEnd(32)} version ${response.version}\n`);
        break;
      }
      case 'synced':
        synced = true;
        await session.write(style.dim(`${event('SYNCED')} version ${response.version}; changes follow\n`));
        break;
      case 'resync':
        synced = false;
        await session.write(style.yellow(`${event('RESYNC')} events were lost; everything once more\n`));
        break;
      default:
        break;
    }
  }
}

async function watchBackends(session: Session, options: WatchOptions, signal: AbortSignal): Promise<void> {
  const agent = await session.agent(options);
  const { style } = session;
  const last = new Map<string, string>();
  for (let first = true; !signal.aborted; first = false) {
    const { backends } = await agent.node.backends({}, { ...session.call(options), signal });
    const seen = new Set<string>();
    for (const backend of backends) {
      const key = `${backend.service}/${backend.backend}`;
      seen.add(key);
      const state = `weight ${backend.weight}, ${backendHealth(backend)}`;
      if (last.get(key) === state) continue;
      await writeBackend(session, options, first ? 'EXISTS' : 'CHANGED', backend, state);
      last.set(key, state);
    }
    for (const key of last.keys()) {
      if (seen.has(key)) continue;
      last.delete(key);
      if (options.output === 'json') await session.write(`${JSON.stringify({ event: 'REMOVED', backend: key })}\n`);
      else await session.write(`${style.red(event('REMOVED'))} ${printable(key)}\n`);
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, backendsIntervalMs);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      }
      signal.addEventListener('abort', done);
    });
  }
  throw signal.reason;
}

async function writeBackend(
  session: Session,
  options: WatchOptions,
  name: string,
  backend: BackendStatus,
  state: string,
): Promise<void> {
  if (options.output === 'json') {
    const json = toJson(BackendStatusSchema, backend, { alwaysEmitImplicit: true });
    await session.write(`${JSON.stringify({ event: name, backend: json })}\n`);
    return;
  }
  const time = session.style.dim(clock(Date.now()).slice(11));
  await session.write(
    `${time} ${event(name)} ${printable(`${backend.service}/${backend.backend}`).padEnd(36)} ${state}\n`,
  );
}

async function watchConnections(session: Session, options: WatchOptions, signal: AbortSignal): Promise<void> {
  const agent = await session.agent(options);
  for await (const response of agent.traffic.watchConnections({}, { signal })) {
    if (options.output === 'json') {
      await session.write(`${JSON.stringify(toJson(WatchConnectionsResponseSchema, response))}\n`);
      continue;
    }
    if (response.dropped > 0n) await session.write(session.style.yellow(`… ${response.dropped} events were lost\n`));
    if (response.entry !== undefined) await session.write(formatEntry(response.entry, session.style));
  }
}
