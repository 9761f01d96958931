// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { hostPortText, parseHostPort } from './host-port.js';

describe('addresses as HOST:PORT', () => {
  it.each([
    ['192.0.2.1:7401', '192.0.2.1', 7401],
    ['[2001:db8::1]:7401', '2001:db8::1', 7401],
    ['[::ffff:192.0.2.1]:1', '::ffff:192.0.2.1', 1],
    ['node-1.example:65535', 'node-1.example', 65_535],
  ])('%s is read, and written as it was', (text, host, port) => {
    expect(parseHostPort(text, { names: true })).toEqual({ host, port });
    expect(hostPortText({ host, port })).toBe(text);
  });

  it.each(['', '192.0.2.1', '192.0.2.1:', '192.0.2.1:65536', '192.0.2.1:0', '192.0.2.300:1', '2001:db8::1:7401'])(
    '%s is none',
    (text) => expect(parseHostPort(text, { names: true })).toBeUndefined(),
  );

  it.each(['[192.0.2.1]:1', '[fe80::1%eth0]:1', '[::1]:1 ', 'a b:1', 'x:1:2'])('%s is none', (text) =>
    expect(parseHostPort(text, { names: true })).toBeUndefined(),
  );

  it('takes names and port 0 only where they are wanted', () => {
    expect(parseHostPort('node-1:7401')).toBeUndefined();
    expect(parseHostPort('192.0.2.1:0', { anyPort: true })).toEqual({ host: '192.0.2.1', port: 0 });
  });
});
