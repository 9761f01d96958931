// SPDX-License-Identifier: Apache-2.0
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ipv4Target, parseIpv4, parseIpv6, parseTarget } from './address.js';

const v4ish = fc
  .array(fc.constantFrom('0', '1', '25', '255', '256', '01', '.', '.', '.'), { maxLength: 8 })
  .map((parts) => parts.join(''));
const v6ish = fc
  .array(fc.constantFrom('0', 'f', 'ffff', '12345', ':', ':', '::', '1.2.3.4', 'g'), { maxLength: 17 })
  .map((parts) => parts.join(''));

test('reads as IPv4 exactly what the platform does', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), v4ish), (text) => {
      expect(parseIpv4(text) !== undefined, text).toBe(isIPv4(text));
    }),
    { numRuns: 2_000 },
  );
});

test('reads as IPv6 exactly what the platform does', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV6(), v6ish), (text) => {
      expect(parseIpv6(text) !== undefined, text).toBe(isIPv6(text));
    }),
    { numRuns: 5_000 },
  );
});

test('bytes are those of the address', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const groups = Array.from({ length: 8 }, (_, i) =>
        (((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0)).toString(16),
      );
      expect(parseIpv6(groups.join(':'))).toEqual(bytes);
    }),
  );
  expect(parseIpv6('2001:db8::1')?.at(-1)).toBe(1);
  expect(parseTarget('10.1.2.3:80')).toEqual({ kind: 'ip', address: Uint8Array.of(10, 1, 2, 3), port: 80 });
  expect(parseTarget('[::1]')).toMatchObject({ kind: 'ip', port: 0 });
  expect(parseTarget('App.internal.')).toEqual({ kind: 'dns', host: 'App.internal.', port: 0 });
  expect(parseTarget('unix:/a:b')).toEqual({ kind: 'unix', path: '/a:b' });
});

test('reads an IPv4 target as a number: the bytes of the address, and the port', () => {
  const portish = fc.oneof(fc.nat(70_000).map(String), fc.constantFrom('', '0', '080', '1:2', ' 80', '80x', '65536'));
  const targetish = fc.tuple(fc.oneof(fc.ipV4(), v4ish), fc.option(portish, { nil: undefined }));
  fc.assert(
    fc.property(targetish, ([host, port]) => {
      const text = port === undefined ? host : `${host}:${port}`;
      const validPort =
        port === undefined || (/^[0-9]{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535);
      const number = ipv4Target(text);
      expect(number !== -1, text).toBe(isIPv4(host) && validPort);
      if (number === -1) return;
      const octets = host.split('.').map(Number);
      expect(number, text).toBe(octets.reduce((sum, octet) => sum * 256 + octet, 0) * 65_536 + Number(port ?? 0));
      expect(parseTarget(text)).toEqual({ kind: 'ip', address: Uint8Array.from(octets), port: Number(port ?? 0) });
    }),
    { numRuns: 3_000 },
  );
});
