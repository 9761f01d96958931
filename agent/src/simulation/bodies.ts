// SPDX-License-Identifier: Apache-2.0
/** Objects that simulated operators write: each valid by itself, at odds with each other often enough. */
import { parseConfiguration } from '@marcher/model';
import { packObject } from '../application/object-codec.js';
import { packService } from '../application/service-codec.js';
import type { ClusterName } from '../domain/replication/contract.js';
import type { Random } from '../domain/replication/sim/random.js';

export const POLICIES = ['gold', 'silver'];
const PORTS = [8001, 8002, 8003, 8004, 8005, 8006, 8007, 8008];

const bodies = new Map<string, Uint8Array>();

/** Packed once: parsing is not what is simulated. */
function packed(file: {
  readonly services?: readonly object[];
  readonly trafficPolicies?: readonly object[];
}): Uint8Array {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', ...file });
  const known = bodies.get(text);
  if (known !== undefined) return known;
  const { configuration, violations } = parseConfiguration(text);
  const [service] = configuration?.services ?? [];
  const [policy] = configuration?.trafficPolicies ?? [];
  let body: Uint8Array;
  if (service !== undefined) body = packService(service);
  else if (policy !== undefined) {
    body = packObject({ $typeName: 'marcher.v1.Object', object: { case: 'trafficPolicy', value: policy } }).after;
  } else throw new Error(`${text}: ${JSON.stringify(violations)}`);
  bodies.set(text, body);
  return body;
}

export function policyBody(name: string, random: Random): Uint8Array {
  return packed({ trafficPolicies: [{ name, dscp: random.below(4) }] });
}

/** With what others write meanwhile it may share a port, or contradict itself. */
export function serviceBody(name: string, random: Random, cluster: ClusterName = ''): Uint8Array {
  const port = random.pick(PORTS);
  const second = random.pick(PORTS);
  // What is forwarded as it is has no room for a PROXY header, and keeps its port.
  const way = random.below(4);
  const ports = second === port || way === 0 ? [port] : [port, second];
  const address = `192.0.2.9:${port}`;
  const policy = random.below(4);
  return packed({
    services: [
      {
        name,
        listeners: ports.map((one) => ({ protocol: 'tcp', address: '198.51.100.1', port: one })),
        backends: [{ name: 'b1', address, ...(way === 1 ? { sendProxy: 'v2' } : {}) }],
        ...(way === 0 ? { forwarding: { mode: 'ipip' } } : {}),
        ...(way > 1 && policy < POLICIES.length ? { trafficPolicy: POLICIES[policy] } : {}),
        ...(cluster === '' ? {} : { cluster }),
      },
    ],
  });
}
