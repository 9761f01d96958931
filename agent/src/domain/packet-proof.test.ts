// SPDX-License-Identifier: Apache-2.0
import { parseConfiguration, type Service } from '@marcher/model';
import { expect, test } from 'vitest';
import { disproof, EVERYTHING, kindOf, NO_PROOF, type PacketProof } from './packet-proof.js';

const service = (mode: string, vip: string, backend: string) => {
  const text = JSON.stringify({
    apiVersion: 'marcher/v1',
    services: [
      { name: 'web', listeners: [{ address: vip, port: 80 }], forwarding: { mode }, backends: [{ address: backend }] },
    ],
  });
  const parsed = parseConfiguration(text);
  return parsed.configuration?.services[0] as Service;
};

const without = (tier: 'xdp' | 'tc', ...lost: string[]): PacketProof => ({
  ...NO_PROOF,
  [tier]: { text: '', lost: new Map(lost.map((kind) => [kind, 'it did not come out'])) },
});

test.each([
  ['ipip', '192.0.2.1', '10.0.0.1:80', without('xdp', kindOf('ipip', 'ipv6')), undefined],
  ['ipip', 'fd00::1', '[fd00::2]:80', without('xdp', kindOf('ipip', 'ipv6')), 'ipip over IPv6: it did not come out'],
  ['ipip', '192.0.2.1', '[fd00::2]:80', without('xdp', kindOf('ipip', 'ipv6')), 'ipip over IPv6: it did not come out'],
  ['gue', 'fd00::1', '[fd00::2]:80', without('xdp', kindOf('ipip', 'ipv6')), undefined],
  ['nat', 'fd00::1', '[fd00::2]:80', without('xdp', EVERYTHING), undefined],
  ['nat', 'fd00::1', '[fd00::2]:80', without('tc', EVERYTHING), 'it did not come out'],
  ['nat', '192.0.2.1', '10.0.0.1:80', without('tc', kindOf('nat', 'ipv4')), 'nat over IPv4: it did not come out'],
  ['auto', '192.0.2.1', '10.0.0.1:80', without('tc', kindOf('nat', 'ipv4')), 'nat over IPv4: it did not come out'],
  ['auto', '192.0.2.1', '10.0.0.1:80', without('tc', kindOf('nat', 'ipv6')), undefined],
  ['l2', '192.0.2.1', '10.0.0.1:80', without('tc', EVERYTHING), undefined],
])('%s at %s to %s', (mode, vip, backend, proof, expected) => {
  expect(disproof(proof, service(mode, vip, backend))).toBe(expected);
});
