// SPDX-License-Identifier: Apache-2.0
import { type Guard, parseConfiguration } from '@marcher/model';
import { GuardAction, Transport } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { expect, test } from 'vitest';
import { packetGuard } from './packet-guard.js';

function guards(...files: object[]): Guard[] {
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', guards: files }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed.violations));
  return parsed.configuration.guards;
}

test('no guard guards nothing, and an empty one drops what is impossible', () => {
  expect(packetGuard([])).toBeUndefined();
  expect(packetGuard(guards({ name: 'edge' }))).toMatchObject({
    rules: [],
    denyByDefault: false,
    dropMalformed: true,
    dropBadFragments: true,
    dropMartians: true,
    synCookies: { always: false, onPerSecond: 10_000n, offPerSecond: 5_000n },
  });
  expect(packetGuard(guards({ name: 'edge' }))?.limits).toBeUndefined();
});

test('several guards are one, and each rule says whose it is', () => {
  const guard = packetGuard(
    guards(
      { name: 'a', default: 'deny', rules: [{ action: 'deny', sources: ['203.0.113.0/24', '2001:db8::1'] }] },
      {
        name: 'b',
        drop: { martians: false },
        sourceLimits: { packetsPerSecond: 100 },
        synCookies: { mode: 'off' },
        rules: [
          { action: 'allow', protocol: 'tcp', ports: [22, '8000-8100'], unlimited: true },
          { action: 'redirect', protocol: 'udp', redirect: { address: '192.0.2.7' } },
          { action: 'redirect', sources: ['198.51.100.1'], redirect: { device: 'eth1' } },
        ],
      },
    ),
  );
  expect(guard).toMatchObject({
    denyByDefault: true,
    dropMartians: false,
    limits: {
      ipv4Prefix: 24,
      ipv6Prefix: 64,
      packetsPerSecond: 100n,
      bytesPerSecond: 0n,
      connectionsPerSecond: 0n,
      burstMs: 1_000n,
    },
  });
  expect(guard?.synCookies).toBeUndefined();
  expect(guard?.rules.map(({ guard: name, position }) => `${name} ${position}`)).toEqual(['a 0', 'b 0', 'b 1', 'b 2']);
  const [deny, allow, rerouted, redirected] = guard?.rules ?? [];
  expect(deny).toMatchObject({ action: GuardAction.DENY, transport: Transport.UNSPECIFIED, ports: [] });
  expect(deny?.sources).toMatchObject([
    { address: Uint8Array.of(203, 0, 113, 0), length: 24 },
    { address: Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), length: 128 },
  ]);
  expect(allow).toMatchObject({
    action: GuardAction.ALLOW,
    transport: Transport.TCP,
    unlimited: true,
    ports: [
      { first: 22, last: 22 },
      { first: 8_000, last: 8_100 },
    ],
  });
  expect(rerouted?.redirectAddress).toEqual(Uint8Array.of(192, 0, 2, 7));
  expect(redirected?.redirectDevice).toBe('eth1');
});
