// SPDX-License-Identifier: Apache-2.0
/** What makes a traffic policy valid. */
import { type Bandwidth, Ecn, Priority, type TrafficPolicy } from '@marcher/model';
import { LIMITS } from './defaults.js';
import { type Faults, known, named, range } from './faults.js';

export function validateTrafficPolicy(policy: TrafficPolicy, path: string, faults: Faults): void {
  named(faults, path, policy.name, 'traffic policy');
  known(faults, path, 'priority', policy.priority, Priority);
  validateBandwidth(policy.ingress, `${path}.ingress`, faults);
  validateBandwidth(policy.egress, `${path}.egress`, faults);
  validateBandwidth(policy.connectionIngress, `${path}.perConnection.ingress`, faults);
  validateBandwidth(policy.connectionEgress, `${path}.perConnection.egress`, faults);
  if (policy.connections !== undefined) {
    const at = `${path}.connections`;
    range(faults, at, 'rate', policy.connections.perSecond, 1n, LIMITS.eventsPerSecond);
    range(faults, at, 'burst', policy.connections.burst, 1n, LIMITS.connectionBurstMax);
  }
  range(faults, path, 'dscp', policy.dscp, 0, LIMITS.dscp);
  known(faults, path, 'ecn', policy.ecn, Ecn);
}

function validateBandwidth(bandwidth: Bandwidth | undefined, path: string, faults: Faults): void {
  if (bandwidth === undefined) return;
  const { rate } = bandwidth;
  if (rate < LIMITS.bandwidthBitsMin || rate > LIMITS.bandwidthBitsMax) {
    const reason = rate === 0n ? 'lets nothing through' : `${rate} bits per second is out of range`;
    const fix =
      rate === 0n ? 'write a rate such as "10Mbit"; a guard denies all' : 'write a rate from "8kbit" to "10Tbit"';
    faults.add(`${path}.rate`, reason, fix);
  }
  range(faults, path, 'burst', bandwidth.burst, LIMITS.bandwidthBurstMin, LIMITS.bandwidthBurstMax);
}
