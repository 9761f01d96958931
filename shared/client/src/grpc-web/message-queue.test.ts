// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { MessageQueue } from './message-queue.js';

test('what waits is read before the end is told', async () => {
  const queue = new MessageQueue<string>(100);
  queue.push('a', 1);
  queue.push('b', 1);
  queue.end(new Error('broken'));
  queue.end(undefined);
  queue.push('late', 1);
  const read: string[] = [];
  await expect(
    (async () => {
      for await (const message of queue) read.push(message);
    })(),
  ).rejects.toThrow('broken');
  expect(read).toEqual(['a', 'b']);
});

test('a reader that waits is woken by a message, and by the end', async () => {
  const queue = new MessageQueue<string>(100);
  const reader = queue[Symbol.asyncIterator]();
  const first = reader.next();
  queue.push('a', 1);
  expect(await first).toEqual({ done: false, value: 'a' });
  const second = reader.next();
  queue.end(undefined);
  expect(await second).toEqual({ done: true, value: undefined });
});

test('a message that comes while others are read is not missed', async () => {
  const queue = new MessageQueue<string>(100);
  queue.push('a', 1);
  const read: string[] = [];
  for await (const message of queue) {
    read.push(message);
    if (message === 'a') queue.push('b', 1);
    else queue.end(undefined);
  }
  expect(read).toEqual(['a', 'b']);
});

test('there is room for so many bytes, and always for one message', async () => {
  const queue = new MessageQueue<string>(10);
  expect(queue.push('large', 1_000)).toBe(true);
  expect(queue.push('small', 1)).toBe(false);
  const reader = queue[Symbol.asyncIterator]();
  expect((await reader.next()).value).toBe('large');
  expect(queue.push('small', 9)).toBe(true);
  expect(queue.push('more', 1)).toBe(true);
  expect(queue.push('too much', 1)).toBe(false);
});
