// SPDX-License-Identifier: Apache-2.0
/** What makes a traffic policy valid. */
import { type Bandwidth, Ecn, Priority, type Service, type TrafficPolicy } from '@marcher/model';
import { LIMITS } from './defaults.js';
import { clustered, type Faults, known, named, range } from './faults.js';
import { isNat, modeName, packetModeOf } from './packet-service.js';

export function validateTrafficPolicy(policy: TrafficPolicy, path: string, faults: Faults): void {
  named(faults, path, policy.name, 'traffic policy');
  clustered(faults, path, policy.cluster);
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

/** The policy that a service names, as far as it is for it: one of another cluster is not. */
export function policyFor(
  service: Pick<Service, 'cluster'>,
  policy: TrafficPolicy | undefined,
): TrafficPolicy | undefined {
  return policy === undefined || policy.cluster === '' || policy.cluster === service.cluster ? policy : undefined;
}

/** It has rates of what goes to clients. */
export function limitsAnswers(policy: TrafficPolicy | undefined): boolean {
  return policy?.egress !== undefined || policy?.connectionEgress !== undefined;
}

/** Backends answer clients directly, past this node. */
export function answersPassBy(service: Service): boolean {
  return packetModeOf(service) !== undefined && !isNat(service);
}

/** Whether the tier that the service asks for can hold it to the policy that it names. */
export function validatePolicyOf(
  service: Service,
  policy: TrafficPolicy | undefined,
  add: (reason: string, fix: string) => void,
): void {
  if (!limitsAnswers(policy) || !answersPassBy(service)) return;
  const reason = `${JSON.stringify(policy?.name)} limits egress, and with forwarding.mode ${modeName(service)} backends answer past this node`;
  add(reason, 'name a policy without egress, or use forwarding.mode nat or relay');
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
