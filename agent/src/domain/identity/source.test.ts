// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { sourceOf } from './source.js';

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ['fe80::1%eth0', 'fe80::/64'],
  ['2001:0db8:0001:0002::9', '2001:db8:1:2::/64'],
  ['2001:DB8::1', '2001:db8::/64'],
  ['::1', '::/64'],
  ['local', 'local'],
  ['', ''],
  ['/run/socket', '/run/socket'],
])('attempts from %s are those of %s', (address, source) => {
  expect(sourceOf(address)).toBe(source);
});
