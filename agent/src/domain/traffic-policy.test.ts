// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { type Ecn, type Priority, parseConfiguration, type TrafficPolicy, TrafficPolicySchema } from '@marcher/model';
import { expect, test } from 'vitest';
import { Faults } from './faults.js';
import { validateTrafficPolicy } from './traffic-policy.js';

function faultsOf(policy: TrafficPolicy): string[] {
  const found = new Faults();
  validateTrafficPolicy(policy, 'p', found);
  return found.list.map(({ path, reason, fix }) => `${path}: ${reason} -> ${fix}`);
}

function faults(fields: object): string[] {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', trafficPolicies: [{ name: 'gold', ...fields }] });
  const { configuration, violations } = parseConfiguration(text);
  if (configuration === undefined) throw new Error(JSON.stringify(violations));
  return faultsOf(configuration.trafficPolicies[0] as TrafficPolicy);
}

test('what an operator would expect to be valid is valid', () => {
  for (const fields of [
    {},
    { priority: 'P0', dscp: 'EF', ecn: 'mark' },
    { ingress: { rate: '8kbit' }, egress: { rate: '10Tbit', burst: '4GiB' } },
    { perConnection: { ingress: { rate: '100Mbit', burst: 2048 }, egress: { rate: '1.5Gbit' } } },
    { connections: { rate: 1 } },
    { connections: { rate: 1_000_000_000, burst: 1 }, dscp: 0 },
    { dscp: 63 },
  ]) {
    expect(faults(fields), JSON.stringify(fields)).toEqual([]);
  }
});

test.each([
  [{ name: 'Gold' }, 'p.name: "Gold" is not a traffic policy name'],
  [{ ingress: { rate: '0bit' } }, 'p.ingress.rate: lets nothing through'],
  [{ egress: { rate: '7999bit' } }, 'p.egress.rate: 7999 bits per second is out of range'],
  [{ egress: { rate: '11Tbit' } }, 'p.egress.rate: 11000000000000 bits per second is out of range'],
  [{ ingress: { rate: '1Mbit', burst: 2047 } }, 'p.ingress.burst: 2047 is out of range'],
  [{ perConnection: { egress: { rate: '1bit' } } }, 'p.perConnection.egress.rate: 1 bits per second'],
  [{ perConnection: { ingress: { rate: '1Mbit', burst: '5GiB' } } }, 'p.perConnection.ingress.burst: 5368709120'],
  [{ connections: { rate: 0 } }, 'p.connections.rate: 0 is out of range'],
  [{ connections: { rate: 1, burst: 0 } }, 'p.connections.burst: 0 is out of range'],
  [{ dscp: 64 }, 'p.dscp: 64 is out of range -> write a number from 0 to 63'],
] as const)('%j', (fields, expected) => {
  const found = faults(fields);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(expected);
});

test('values of a later version are refused', () => {
  const policy = create(TrafficPolicySchema, { name: 'a', priority: 9 as Priority, ecn: 7 as Ecn });
  expect(faultsOf(policy).map((line) => line.split(':')[0])).toEqual(['p.priority', 'p.ecn']);
});
