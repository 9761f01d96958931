// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatRoute, PAGES, parseRoute, placeOf } from './routes.js';

test('an address leads back to where it was made', () => {
  const route = fc.record({
    page: fc.constantFrom(...PAGES),
    name: fc.option(fc.string({ minLength: 1, maxLength: 40 }), { nil: undefined }),
    filter: fc.string({ maxLength: 40 }),
  });
  fc.assert(
    fc.property(route, (each) => {
      expect(parseRoute(formatRoute(each))).toEqual(each);
    }),
  );
});

test('what is no address is the dashboard', () => {
  for (const hash of ['', '#', '#/nowhere', '#token=abc', '#/../x']) expect(parseRoute(hash).page).toBe('dashboard');
  expect(parseRoute('#/services/%E0%A4%A')).toEqual({ page: 'services', name: undefined, filter: '' });
});

test('a page goes on while another of its objects is chosen, and one service is another page than the next', () => {
  const place = (hash: string): string => placeOf(parseRoute(hash));
  expect(place('#/guards/edge')).toBe(place('#/guards?q=e'));
  expect(place('#/services/web')).not.toBe(place('#/services/api'));
});
