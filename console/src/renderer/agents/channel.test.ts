// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { FrameKind, frameHead } from '../../wire/frames.js';
import { StreamChannel } from './channel.js';

const PIECE = 256 << 10;
const PIECES = 200;

function framed(kind: FrameKind, call: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(payload.length + 9);
  frame.set(frameHead(kind, call, payload.length));
  frame.set(payload, 9);
  return frame;
}

/** A gateway whose only call answers with so many pieces, as fast as it is read. */
function gateway() {
  const counts = { read: 0, cancelled: 0 };
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (counts.read === 0) {
          const head = JSON.stringify({ status: 200, headers: [['content-type', 'text/plain']] });
          controller.enqueue(framed(FrameKind.HEAD, 1, new TextEncoder().encode(head)));
        } else if (counts.read <= PIECES) {
          controller.enqueue(framed(FrameKind.DATA, 1, new Uint8Array(PIECE)));
        } else {
          controller.enqueue(framed(FrameKind.END, 1, new Uint8Array(0)));
          controller.close();
        }
        counts.read++;
      },
    },
    { highWaterMark: 0 },
  );
  let begun: (() => void) | undefined;
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const fetch = async (input: unknown): Promise<Response> => {
    const url = String(input);
    if (url.endsWith('/cancel')) counts.cancelled++;
    if (!url.includes('/streams/')) {
      begun?.();
      return new Response(null, { status: 202 });
    }
    // Nothing is said of a call that has not begun.
    return new Response(
      body.pipeThrough(new TransformStream({ start: () => isBegun }, { highWaterMark: 1 }, { highWaterMark: 0 })),
    );
  };
  return { counts, fetch };
}

async function turns(): Promise<void> {
  for (let i = 0; i < 500; i++) await turn();
}

test('takes no more from the gateway than a little while its stream is not read, and all when it is', async () => {
  const { counts, fetch } = gateway();
  const channel = new StreamChannel(fetch, 'http://gateway');
  const { body } = await channel.fetch('http://gateway/agent/entry/x', { method: 'POST' });
  await turns();
  expect(counts.read).toBeLessThan(12);
  let bytes = 0;
  for await (const piece of body as unknown as AsyncIterable<Uint8Array>) bytes += piece.length;
  expect(bytes).toBe(PIECE * PIECES);
});

test('tells the gateway when its reader has had enough', async () => {
  const { counts, fetch } = gateway();
  const channel = new StreamChannel(fetch, 'http://gateway');
  const { body } = await channel.fetch('http://gateway/agent/entry/x', { method: 'POST' });
  await body?.cancel();
  expect(counts.cancelled).toBe(1);
});
