// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { MemoryTransactions } from './memory-transactions.js';

/** Letters that were written, on one disk. */
function disk() {
  const transactions = new MemoryTransactions();
  const written: string[] = [];
  const write = (letter: string, durable: boolean, within?: () => void): void =>
    transactions.run(durable, (undo) => {
      written.push(letter);
      undo(() => void written.splice(written.indexOf(letter), 1));
      within?.();
    });
  const fail = (): never => {
    throw new Error('no space is left');
  };
  return { transactions, written, write, fail };
}

test('what fails takes back all that was done within it, and nothing of before', () => {
  const { written, write, fail } = disk();
  write('a', true);
  const all = (): void => {
    write('c', true);
    fail();
  };
  expect(() => write('b', true, all)).toThrow('no space is left');
  expect(written).toEqual(['a']);
  // What is caught within is undone, and the rest stays.
  write('d', true, () => expect(() => write('e', true, fail)).toThrow());
  expect(written).toEqual(['a', 'd']);
});

test('one within another is lost with it, or durable where either is', () => {
  const { transactions, written, write } = disk();
  write('a', false, () => write('b', true));
  expect(transactions.undurable).toBe(0);
  write('c', false, () => write('d', false));
  write('e', false);
  expect(transactions.undurable).toBe(2);
  transactions.keepUndurable(1);
  expect(written).toEqual(['a', 'b', 'c', 'd']);
  write('f', false);
  transactions.keepUndurable(0);
  expect(written).toEqual(['a', 'b', 'c', 'd']);
});
