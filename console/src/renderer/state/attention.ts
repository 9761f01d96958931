// SPDX-License-Identifier: Apache-2.0
/** What somebody should look at, the worst first. Nodes that do not answer are the banner's. */
import type { FleetState, ServiceView } from '@marcher/client/fleet';
import { plural } from '../text/quantity.js';
import type { Page } from './routes.js';
import { firstUnmet, isProbed } from './service-words.js';

export interface Concern {
  readonly tone: 'bad' | 'warn';
  readonly what: string;
  readonly why: string;
  readonly page: Page;
  readonly name: string | undefined;
}

const CONCERNS_MAX = 50;

export function concerns(state: FleetState): readonly Concern[] {
  const found: Concern[] = [];
  for (const service of state.services.values()) found.push(...ofService(service));
  for (const { service, backend, health } of state.backends.values()) {
    if (health !== 'mixed' && health !== 'unhealthy') continue;
    const why = health === 'mixed' ? `${backend} is unhealthy to some nodes` : `${backend} is unhealthy`;
    found.push({ tone: 'warn', what: service, why, page: 'services', name: service });
  }
  for (const { key, name, status, link } of state.nodes.values()) {
    if (link.kind !== 'live' || status === undefined) continue;
    const at = { page: 'proxies', name: key } as const;
    if (status.draining)
      found.push({ tone: 'warn', what: name, why: 'is drained: it takes no new connections', ...at });
    for (const { status: met, type, reason, message } of status.conditions) {
      if (!met)
        found.push({ tone: status.ready ? 'warn' : 'bad', what: name, why: `${type}: ${message || reason}`, ...at });
    }
  }
  for (const { kind, name, agreement } of state.objects.values()) {
    const page = kind === 'TrafficPolicy' ? 'shaping' : 'guards';
    if (agreement === 'differs')
      found.push({ tone: 'warn', what: name, why: 'is not the same on all nodes', page, name });
  }
  if (state.configurations > 1) {
    const why = `${state.configurations} different ones are in force: a change is on its way, or nodes are cut off`;
    found.push({ tone: 'warn', what: 'configuration', why, page: 'mesh', name: undefined });
  }
  found.sort((a, b) => Number(a.tone === 'warn') - Number(b.tone === 'warn'));
  return found.slice(0, CONCERNS_MAX);
}

/** Of 5,000 services most are the same object in the next state: each is looked at once, on all of its nodes. */
const looked = new WeakMap<ServiceView, readonly Concern[]>();
const NOTHING: readonly Concern[] = [];

function ofService(service: ServiceView): readonly Concern[] {
  const known = looked.get(service);
  if (known !== undefined) return known;
  const found: Concern[] = [];
  const { name, backends, healthyBackends, agreement, nodes } = service;
  const isKnown = healthyBackends > 0 || isProbed(service);
  const at = { page: 'services', name } as const;
  if (isKnown && backends > 0 && healthyBackends === 0) {
    found.push({ tone: 'bad', what: name, why: `none of ${plural(backends, 'backend')} is healthy`, ...at });
  } else if (isKnown && healthyBackends < backends) {
    found.push({ tone: 'warn', what: name, why: `${healthyBackends} of ${backends} backends are healthy`, ...at });
  }
  if (agreement === 'differs') found.push({ tone: 'warn', what: name, why: 'is not the same on all nodes', ...at });
  const unmet = firstUnmet(nodes);
  if (unmet !== undefined) found.push({ tone: 'bad', what: name, why: unmet.message || unmet.reason, ...at });
  looked.set(service, found.length === 0 ? NOTHING : found);
  return found;
}
