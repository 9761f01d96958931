// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseFilter, select } from './filter.js';

const rows = ['web relay', 'WebSocket tc', 'api xdp', 'mail relay'];
const selected = (text: string): readonly string[] => select(parseFilter(text), rows, (row) => row);

describe('a filter', () => {
  test('is a regular expression without regard to case', () => {
    expect(selected('web')).toEqual(['web relay', 'WebSocket tc']);
    expect(selected('^web .*y$')).toEqual(['web relay']);
  });

  test('with ! before it selects all others', () => {
    expect(selected('!relay')).toEqual(['WebSocket tc', 'api xdp']);
  });

  test('with -f selects by letters with others between them, the best first', () => {
    expect(selected('-f wsk')).toEqual(['WebSocket tc']);
    expect(selected('-f ai')).toContain('api xdp');
  });

  test('that is half typed selects all, and says what is wrong', () => {
    expect(selected('web(')).toEqual(rows);
    expect(parseFilter('web(')).toMatchObject({ kind: 'faulty' });
    for (const empty of ['', ' ', '!', '-f', '-f ']) expect(selected(empty)).toEqual(rows);
  });

  test('is bounded', () => {
    expect(parseFilter('x'.repeat(300))).toMatchObject({ kind: 'faulty' });
  });
});
