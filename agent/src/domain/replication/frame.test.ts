// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CellWrite, Frame } from './contract.js';
import { decodeFrame, encodeFrame, FRAME_LIMITS, type NewFrame, packOrigin, unpackOrigin } from './frame.js';
import { originKey, parseOrigin } from './origin.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');
const sign = (digest: Uint8Array): Uint8Array => digest.slice(0, 8);

const anyWrite: fc.Arbitrary<CellWrite> = fc.record({
  kind: fc.string({ minLength: 1, maxLength: 5 }),
  id: fc.string({ minLength: 1, maxLength: 5, unit: 'grapheme' }),
  group: fc.string({ maxLength: 5 }),
  value: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }),
});
const anyFrame: fc.Arbitrary<NewFrame> = fc
  .record({
    node: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    incarnation: fc.nat(2 ** 48 - 1),
    sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    ms: fc.nat(2 ** 48 - 1),
    counter: fc.nat(0xffff),
    author: fc.string({ maxLength: 5 }),
    message: fc.string({ maxLength: 5 }),
    writes: fc.uniqueArray(anyWrite, {
      minLength: 1,
      maxLength: 5,
      selector: ({ kind, id, group }) => JSON.stringify([kind, id, group]),
    }),
  })
  .map(({ node, incarnation, ms, counter, ...rest }) => ({
    ...rest,
    origin: { node, incarnation },
    stamp: { ms, counter, node },
    previous: rest.sequence === 1 ? new Uint8Array(0) : new Uint8Array(32).fill(7),
  }));

function encoded(frame: NewFrame): Frame {
  const result = encodeFrame(frame, hash, sign);
  if ('fault' in result) throw new Error(result.fault);
  return result;
}

const simple: NewFrame = {
  origin: { node: 0xabcn, incarnation: 5 },
  sequence: 1,
  stamp: { ms: 1000, counter: 2, node: 0xabcn },
  previous: new Uint8Array(0),
  author: 'lord',
  message: 'ports',
  writes: [{ kind: 'service', id: 'web', group: '', value: new Uint8Array([1]) }],
};

test('what was encoded is decoded, and the same is encoded the same', () => {
  fc.assert(
    fc.property(anyFrame, (frame) => {
      const once = encoded(frame);
      expect(Buffer.compare(once.bytes, encoded(frame).bytes)).toBe(0);
      const back = decodeFrame(once.bytes, hash);
      expect(back).toEqual(once);
      expect(once.writes.map(({ value }) => value && [...value])).toEqual(
        frame.writes.map(({ value }) => value && [...value]),
      );
      expect(once.origin).toBe(originKey(frame.origin));
      expect([once.sequence, once.stamp, once.author]).toEqual([frame.sequence, frame.stamp, frame.author]);
    }),
  );
});

test('origins: keys sort as incarnations do, and come back', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(2 ** 48 - 1), fc.nat(2 ** 48 - 1), (node, a, b) => {
      expect(parseOrigin(originKey({ node, incarnation: a }))).toEqual({ node, incarnation: a });
      expect(unpackOrigin(packOrigin({ node, incarnation: a }))).toEqual({ node, incarnation: a });
      const keys = [originKey({ node, incarnation: a }), originKey({ node, incarnation: b })] as const;
      expect(keys[0] < keys[1]).toBe(a < b);
    }),
  );
});

test('no bytes from outside throw; what is changed on its way is refused or has another hash', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeFrame(bytes, hash)));
  const { bytes, hash: original } = encoded(simple);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Uint8Array.from(bytes);
      changed[at] = (changed[at] as number) ^ flip;
      const frame = decodeFrame(changed, hash);
      if ('fault' in frame || Buffer.compare(frame.hash, original) !== 0) return;
      // The hash is of the body; the rest is the signature.
      expect(Buffer.compare(frame.signature, sign(original))).not.toBe(0);
    }),
  );
  for (let length = 0; length < bytes.length; length++) {
    const cut = decodeFrame(bytes.subarray(0, length), hash);
    if (!('fault' in cut)) expect(cut.signature.length).toBe(0);
  }
});

test('fields of a later version are kept, and stand under the hash', () => {
  const { bytes } = encoded(simple);
  const bodyLength = bytes[1] as number;
  const body = [...bytes.subarray(2, 2 + bodyLength), 0x9a, 0x06, 1, 9];
  const later = Uint8Array.from([0x0a, body.length, ...body, ...bytes.subarray(2 + bodyLength)]);
  const frame = decodeFrame(later, hash);
  if ('fault' in frame) throw new Error(frame.fault);
  expect(frame.author).toBe('lord');
  expect(frame.bytes).toBe(later);
  expect(Buffer.compare(frame.hash, hash(Uint8Array.from(body)))).toBe(0);
});

test.each([
  [{ writes: [] }, 'writes nothing'],
  [{ writes: [simple.writes[0], simple.writes[0]] }, 'is written twice'],
  [{ writes: [{ kind: '', id: 'a', group: '', value: undefined }] }, 'a kind of 0 characters'],
  [{ writes: [{ kind: 'a', id: 'a'.repeat(513), group: '', value: undefined }] }, 'an id of 513 characters'],
  [{ message: 'a'.repeat(8193) }, 'a message of more than 8192'],
  [{ sequence: 2 }, 'a hash of 0 bytes of the frame before'],
  [{ stamp: { ms: 1, counter: 0, node: 1n } }, 'whose stamp is not of its origin'],
] as const)('a frame that is refused: %#', (change, expected) => {
  const result = encodeFrame({ ...simple, ...change } as NewFrame, hash, sign);
  expect('fault' in result && result.fault).toContain(expected);
});

test('a frame beyond its limits is refused on both sides', () => {
  const large = { ...simple, writes: [{ kind: 'a', id: 'a', group: '', value: new Uint8Array(2000) }] };
  const limits = { ...FRAME_LIMITS, bytes: 1000 };
  expect(encodeFrame(large, hash, sign, limits)).toEqual({
    fault: 'a frame of more than 1000 bytes: split the change',
  });
  expect(decodeFrame(encoded(large).bytes, hash, limits)).toHaveProperty('fault');
  const many = { ...simple, writes: ['a', 'b', 'c'].map((id) => ({ kind: 'a', id, group: '', value: undefined })) };
  expect(encodeFrame(many, hash, sign, { ...FRAME_LIMITS, writes: 2 })).toHaveProperty('fault');
  expect(decodeFrame(encoded(many).bytes, hash, { ...FRAME_LIMITS, writes: 2 })).toEqual({
    fault: 'more than 2 cells',
  });
});
