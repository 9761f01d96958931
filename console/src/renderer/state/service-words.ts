// SPDX-License-Identifier: Apache-2.0
/** What is said of a service in a line. */
import { findValue, type ServiceView } from '@marcher/client/fleet';
import type { Condition } from '@marcher/proto/marcher/v1/config_service_pb';
import type { Tone } from '../components/badge.js';

/** Without a check nobody knows; what real traffic finds is said of each backend. */
export function isProbed({ declared }: ServiceView): boolean {
  return declared?.health !== undefined;
}

/** Of any node: why it is not in force there. Asked of each service with each state. */
export function firstUnmet(nodes: ServiceView['nodes']): Condition | undefined {
  return findValue(nodes, ({ unmet }) => unmet.length > 0)?.unmet[0];
}

export function serviceState(service: ServiceView): readonly [Tone, string] {
  const { backends, healthyBackends, mixedBackends, nodes, agreement } = service;
  if (firstUnmet(nodes) !== undefined) return ['bad', 'not in force'];
  if (backends > 0 && healthyBackends === 0 && !isProbed(service)) {
    return agreement === 'differs' ? ['warn', 'differs'] : ['plain', 'not probed'];
  }
  if (backends > 0 && healthyBackends === 0) return ['bad', 'no backend'];
  if (agreement === 'differs') return ['warn', 'differs'];
  if (healthyBackends < backends || mixedBackends > 0) return ['warn', 'degraded'];
  return backends === 0 ? ['plain', 'no backends'] : ['good', 'healthy'];
}

/** "relay", or "relay 2, xdp 1" where nodes carry it by several. */
export function tiersText({ tiers }: ServiceView): string {
  const counts = new Map<string, number>();
  for (const { tier } of tiers.values()) counts.set(tier, (counts.get(tier) ?? 0) + 1);
  if (counts.size <= 1) return [...counts.keys()][0] ?? '–';
  return [...counts].map(([tier, nodes]) => `${tier} ${nodes}`).join(', ');
}
