// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DecodedCache } from './decoded-cache.js';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Found, or else kept: as who decodes does. */
function seen<T>(cache: DecodedCache<T>, bytes: Uint8Array, value: T, [from, to] = [0, bytes.length]): T | undefined {
  const found = cache.find(viewOf(bytes), from, to);
  if (found === undefined) cache.keep(bytes, from, to, value);
  return found;
}

test('what is found is what the same bytes were, wherever they stand', () => {
  const few = fc.uint8Array({ maxLength: 9, max: 2 });
  fc.assert(
    fc.property(fc.array(fc.tuple(few, few, few), { maxLength: 60 }), (messages) => {
      const cache = new DecodedCache<string>();
      const known = new Set<string>();
      for (const [before, message, after] of messages) {
        const bytes = Uint8Array.from([...before, ...message, ...after]);
        const text = message.join();
        const found = seen(cache, bytes, text, [before.length, before.length + message.length]);
        expect(found).toBe(known.has(text) ? text : undefined);
        known.add(text);
      }
    }),
  );
});

test('more than there is room for: some are forgotten, none is taken for another', () => {
  const cache = new DecodedCache<number>();
  const bytes = new Uint8Array(24);
  let found = 0;
  for (let round = 0; round < 3; round++) {
    for (let number = 0; number < 150_000; number++) {
      viewOf(bytes).setUint32(number % 20, number);
      const value = seen(cache, bytes, number);
      if (value !== undefined) {
        expect(value).toBe(number);
        found++;
      }
      bytes.fill(0);
    }
  }
  expect(found).toBeLessThan(300_000);
});

test('when its bytes are full it begins anew', () => {
  const cache = new DecodedCache<number>();
  const message = (number: number): Uint8Array => {
    const bytes = new Uint8Array(4_096).fill(7);
    viewOf(bytes).setUint32(0, number);
    return bytes;
  };
  for (let number = 0; number < 1_024; number++) expect(seen(cache, message(number), number)).toBeUndefined();
  expect(seen(cache, message(3), 3)).toBe(3);
  expect(seen(cache, message(1_024), 1_024)).toBeUndefined();
  expect(cache.find(viewOf(message(3)), 0, 4_096)).toBeUndefined();
  expect(seen(cache, message(1_024), 1_024)).toBe(1_024);
});

test('a message that is longer than most is not kept', () => {
  const cache = new DecodedCache<string>();
  const bytes = new Uint8Array(4_097);
  expect(seen(cache, bytes, 'long')).toBeUndefined();
  expect(seen(cache, bytes, 'long')).toBeUndefined();
});
