// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { count, rate } from './quantity.js';

test('rates have as many places whatever they happen to be; from 100 on none, from 10,000 on a prefix', () => {
  expect([0, 0.04, 8, 11.97, 99.94, 99.96, 9_999].map(rate)).toEqual([
    '0',
    '0.0',
    '8.0',
    '12.0',
    '99.9',
    '100',
    '9999',
  ]);
  expect([12_345.6, 4e6, 2.5e9].map(rate)).toEqual(['12.3k', '4.0M', '2.5G']);
});

test('what is counted has no places', () => {
  expect([0, 10, 9_999, 12_345, 11.97].map(count)).toEqual(['0', '10', '9999', '12.3k', '12.0']);
});
