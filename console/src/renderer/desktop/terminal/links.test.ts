// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { linksIn } from './links.js';

test('addresses of https are links, without what ends the sentence', () => {
  expect(linksIn('see https://example.com/a?b=1#c, or (https://example.org).')).toEqual([
    { text: 'https://example.com/a?b=1#c', at: 4 },
    { text: 'https://example.org', at: 37 },
  ]);
});

test('nothing else is', () => {
  expect(linksIn('http://example.com file:///etc/passwd javascript:alert(1) https:// ssh://a@b')).toEqual([]);
});
