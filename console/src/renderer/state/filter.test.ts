// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { fuzzyScore, parseFilter } from './filter.js';

const names = ['web', 'web-admin', 'api', 'dns'];
const kept = (text: string): string[] => names.filter((name) => parseFilter(text).matches(name));

describe('parseFilter', () => {
  test('takes a regular expression, whatever the case', () => {
    expect(kept('^WEB')).toEqual(['web', 'web-admin']);
    expect(kept('')).toEqual(names);
  });

  test('"!" is all but those', () => {
    expect(kept('!web')).toEqual(['api', 'dns']);
  });

  test('"-f" finds letters in their order', () => {
    expect(kept('-f wad')).toEqual(['web-admin']);
  });

  test('what is no expression is searched as it stands, and that is said', () => {
    expect(parseFilter('[')).toMatchObject({ note: expect.stringContaining('no regular expression') });
    expect(parseFilter('[').matches('a[0]')).toBe(true);
  });
});

test('the nearer match scores less', () => {
  expect(fuzzyScore('hi', 'history') ?? 99).toBeLessThan(fuzzyScore('hi', 'the list') ?? 99);
  expect(fuzzyScore('xyz', 'history')).toBeUndefined();
});
