// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { allNames, readServiceNames, SERVICE_NAMES_MAX } from './service-names.js';

test('names are taken as clients compare them, each once, addresses apart', () => {
  const texts = ['API.Example.org', 'api.example.org', '*.example.org', '_x.a-b.example', '10.0.0.1', '2001:DB8:0::1'];
  const read = readServiceNames(texts);
  expect(read).toEqual({
    dns: ['api.example.org', '*.example.org', '_x.a-b.example'],
    addresses: ['10.0.0.1', '2001:db8::1'],
    faults: [],
  });
  expect(allNames(read).at(-1)).toBe('2001:db8::1');
  expect(readServiceNames(['localhost']).faults).toEqual([]);
});

test.each([
  ['', 'is no name'],
  [`${'a'.repeat(64)}.org`, 'has a label that is none'],
  [`${'abcdefg.'.repeat(40)}org`, 'is no name'],
  ['a..org', 'has a label that is none'],
  ['example.org.', 'has a label that is none'],
  ['-a.org', 'has a label that is none'],
  ['bücher.example', 'is not ASCII'],
  ['https://example.org', 'is no host'],
  ['example.org:443', 'is no host'],
  ['a@example.org', 'is no host'],
  ['*', 'is too wide'],
  ['*.org', 'is too wide'],
  ['a.*.example.org', 'is not its whole first label'],
  ['a*.example.org', 'is not its whole first label'],
  ['*.*.example.org', 'has more than one "*"'],
  ['10.0.0.300', 'is neither a DNS name nor an IP address'],
  ['a\u0000.org', 'is not ASCII'],
])('%j is refused: it %s', (text, reason) => {
  expect(readServiceNames(['good.example', text]).faults).toEqual([expect.stringContaining(reason)]);
});

test('all faults are told at once; none and too many names are faults', () => {
  expect(readServiceNames(['*', 'a..b']).faults).toHaveLength(2);
  expect(readServiceNames([]).faults[0]).toContain('there is no name');
  const many = Array.from({ length: SERVICE_NAMES_MAX + 1 }, (_, at) => `n${at}.example.org`);
  expect(readServiceNames(many).faults[0]).toContain('101 names are more than 100');
});
