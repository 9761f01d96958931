// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameKind, FrameReader, frameHead, PAYLOAD_MAX } from './frames.js';

const framed = (kind: FrameKind, call: number, payload: Uint8Array): number[] => [
  ...frameHead(kind, call, payload.length),
  ...payload,
];

describe('FrameReader', () => {
  test('reads the same frames however the bytes were cut', () => {
    const frame = fc.record({
      kind: fc.constantFrom(FrameKind.HEAD, FrameKind.DATA, FrameKind.END, FrameKind.BROKEN),
      call: fc.integer({ min: 0, max: 0xffff_ffff }),
      payload: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 17 })), (frames, cuts) => {
        const bytes = Uint8Array.from(frames.flatMap(({ kind, call, payload }) => framed(kind, call, payload)));
        const reader = new FrameReader();
        const read = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = cuts[i % Math.max(1, cuts.length)] ?? bytes.length;
          read.push(...reader.read(bytes.subarray(at, at + length)));
          at += length;
        }
        expect(read).toEqual(frames);
      }),
    );
  });

  test('refuses a frame that is larger than any may be, before it has come', () => {
    const head = frameHead(FrameKind.DATA, 1, PAYLOAD_MAX + 1);
    expect(() => [...new FrameReader().read(head)]).toThrow(RangeError);
  });

  test('refuses a kind that it does not know', () => {
    expect(() => [...new FrameReader().read(Uint8Array.from([9, 0, 0, 0, 1, 0, 0, 0, 0]))]).toThrow('kind 9');
  });
});
