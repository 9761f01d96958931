// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { nameOfCopy } from './edited.js';

test('a copy has a name that is allowed, and that nobody has', () => {
  expect(nameOfCopy('web')).toBe('web-copy');
  expect(nameOfCopy('web', (name) => name === 'web-copy')).toBe('web-copy-2');
  const long = nameOfCopy('a'.repeat(63), (name) => name.endsWith('-copy'));
  expect(long).toMatch(/^a{56}-copy-2$/);
});
