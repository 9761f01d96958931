// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { bitRate, bytes, count, microseconds, span } from './quantity.js';
import { said } from './said.js';

test('rates are bits, in steps of a thousand', () => {
  expect([0, 125, 1_500_000, 124_999_999].map(bitRate)).toEqual(['0 bit/s', '1 kbit/s', '12 Mbit/s', '1 Gbit/s']);
});

test('counts have three digits at most', () => {
  expect([0, 0.25, 7, 999, 1_000, 12_345, 5_000_000].map(count)).toEqual(['0', '0.3', '7', '999', '1k', '12.3k', '5M']);
});

test('sizes are in powers of 1024', () => {
  expect([512, 1_536, 10 << 20].map((value) => bytes(value))).toEqual(['512 B', '1.5 KiB', '10 MiB']);
});

test('spans name their two largest units', () => {
  expect([999, 12_000, 303_000, 15_000_000, 777_600_000].map(span)).toEqual([
    '0 s',
    '12 s',
    '5 min 3 s',
    '4 h 10 min',
    '9 d 0 h',
  ]);
});

test('times of connections are in the unit that is read at once', () => {
  expect([0, 31, 2_570, 999_600, 90_000_000].map(microseconds)).toEqual([
    '0 µs',
    '31 µs',
    '2.6 ms',
    '1 s',
    '1 min 30 s',
  ]);
});

test('what agents say can neither steer a terminal nor turn the text around', () => {
  expect(said('a\u001b[31mb\u202egnp.exe\nnext\tline')).toBe('a\ufffd[31mb\ufffdgnp.exe\nnext\tline');
});
