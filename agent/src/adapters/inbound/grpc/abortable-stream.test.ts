// SPDX-License-Identifier: Apache-2.0
import { Code, ConnectError } from '@connectrpc/connect';
import { describe, expect, test } from 'vitest';
import { pause, untilAborted } from './abortable-stream.js';

/** Says 1, then nothing for ever, and knows nothing of signals. */
function stubborn(): { source: AsyncIterable<number>; closed: () => boolean } {
  let closed = false;
  let said = false;
  const source: AsyncIterable<number> = {
    [Symbol.asyncIterator]: () => ({
      next() {
        if (said) return new Promise(() => undefined);
        said = true;
        return Promise.resolve({ done: false, value: 1 });
      },
      return() {
        closed = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
  };
  return { source, closed: () => closed };
}

async function collect(source: AsyncIterable<number>, into: number[]): Promise<void> {
  for await (const value of source) into.push(value);
}

describe('a stream ends with its call', () => {
  test('when the source never answers and the client has gone', async () => {
    const { source, closed } = stubborn();
    const leave = new AbortController();
    const seen: number[] = [];
    const done = collect(untilAborted(source, leave.signal), seen);
    await pause(10, new AbortController().signal);
    expect([seen, closed()]).toEqual([[1], false]);
    leave.abort();
    await done;
    expect(closed()).toBe(true);
  });

  test('with the deadline or the shutdown as its reason', async () => {
    const { source } = stubborn();
    const leave = new AbortController();
    const done = collect(untilAborted(source, leave.signal), []);
    leave.abort(new ConnectError('too late', Code.DeadlineExceeded));
    await expect(done).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  });

  test('even when its writer is suspended and never asks again', async () => {
    const { source, closed } = stubborn();
    const leave = new AbortController();
    const iterator = untilAborted(source, leave.signal)[Symbol.asyncIterator]();
    await iterator.next();
    leave.abort();
    expect(closed()).toBe(true);
  });

  test('at once when it was over before it began', async () => {
    const { source, closed } = stubborn();
    const seen: number[] = [];
    await collect(untilAborted(source, AbortSignal.abort()), seen);
    expect([seen, closed()]).toEqual([[], true]);
  });

  test('and passes on what the source fails with', async () => {
    async function* failing(): AsyncIterable<number> {
      yield 1;
      throw new Error('source failed');
    }
    await expect(collect(untilAborted(failing(), new AbortController().signal), [])).rejects.toThrow('source failed');
  });
});

test('a pause is cut short by its signal, and tells', async () => {
  const leave = new AbortController();
  const cut = pause(10_000, leave.signal);
  leave.abort();
  expect(await cut).toBe(false);
  expect(await pause(5, new AbortController().signal)).toBe(true);
});
