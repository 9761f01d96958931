// SPDX-License-Identifier: Apache-2.0
import { createCipheriv } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { KEYS_MAX, Keyring, KeyringError } from './keyring.js';
import { attempt } from './refusal.js';
import { open, seal } from './sealing.js';
import { bytes, counting } from './testing/byte-notation.js';

const OLD = counting(16);
const NEW = counting(32);
const NOTHING = new Uint8Array(0);

function opens(keyring: Keyring, sealed: Uint8Array, associated = NOTHING): string {
  return attempt(
    () => Buffer.from(open(keyring, sealed, associated)).toString(),
    (refusal) => refusal.reason,
  );
}

describe('a keyring', () => {
  test('is rotated by install, use and remove without a message lost', () => {
    const here = new Keyring(OLD);
    const there = new Keyring(OLD);
    const exchange = (): string[] => [
      opens(there, seal(here, bytes('"hi"'), NOTHING, counting)),
      opens(here, seal(there, bytes('"hi"'), NOTHING, counting)),
    ];
    const steps: [Keyring, 'install' | 'use' | 'remove', Uint8Array][] = [
      [here, 'install', NEW],
      [there, 'install', NEW],
      [there, 'use', NEW],
      [here, 'use', NEW],
      [here, 'remove', OLD],
      [there, 'remove', OLD],
    ];
    for (const [keyring, step, key] of steps) {
      keyring[step](key);
      expect(exchange()).toEqual(['hi', 'hi']);
    }
    expect(here.keys).toEqual([NEW]);
    expect(opens(here, seal(new Keyring(OLD), bytes('"hi"'), NOTHING, counting))).toBe('no-key-opens');
  });

  test('has its primary key first, and each key once', () => {
    const keyring = new Keyring(OLD, [NEW, OLD]);
    expect(keyring.keys).toEqual([OLD, NEW]);
    keyring.use(NEW);
    expect(keyring.primary).toEqual(NEW);
    expect(keyring.keys).toEqual([NEW, OLD]);
    keyring.remove(counting(24));
    expect(keyring.keys).toEqual([NEW, OLD]);
  });

  test('keeps its own copy of a key', () => {
    const key = counting(16);
    const keyring = new Keyring(key);
    key.fill(0);
    expect(keyring.primary).toEqual(OLD);
  });

  test('refuses what would leave it without a key to seal with, or with one that AES does not have', () => {
    const keyring = new Keyring(OLD);
    expect(() => keyring.remove(OLD)).toThrow(/primary key cannot be removed/);
    expect(() => keyring.use(NEW)).toThrow(/not in the keyring/);
    expect(() => keyring.install(counting(20))).toThrow(/20 bytes: expected 16, 24, 32/);
    expect(() => new Keyring(NOTHING)).toThrow(KeyringError);
    for (let i = 1; i < KEYS_MAX; i++) keyring.install(new Uint8Array(16).fill(i));
    expect(() => keyring.install(NEW)).toThrow(/holds its 32 keys/);
  });
});

describe('sealing', () => {
  const keyring = new Keyring(OLD);

  test('asks for a nonce of 12 bytes for each message', () => {
    const asked: number[] = [];
    seal(keyring, NOTHING, NOTHING, (length) => {
      asked.push(length);
      return counting(length);
    });
    expect(asked).toEqual([12]);
    expect(() => seal(keyring, NOTHING, NOTHING, () => NOTHING)).toThrow(/nonce of 0 bytes/);
  });

  test('binds the associated data', () => {
    const sealed = seal(keyring, bytes('"hi"'), bytes('"blue"'), counting);
    expect(opens(keyring, sealed, bytes('"blue"'))).toBe('hi');
    expect(opens(keyring, sealed, bytes('"blux"'))).toBe('no-key-opens');
    expect(opens(keyring, sealed)).toBe('no-key-opens');
  });

  test.each([
    ['of its own kind', `"hi" ${'0e'.repeat(14)}`, 'hi'],
    ['that is a block of its own', `"0123456789abcdef" ${'10'.repeat(16)}`, '0123456789abcdef'],
    ['of nothing', `"0123456789abcde" 00`, 'bad-padding'],
    ['longer than a block', `"0123456789abcde" ${'11'.repeat(17)}`, 'bad-padding'],
    ['of different bytes', `"0123456789abcd" 03 02`, 'bad-padding'],
  ])('by version 0 with padding %s', (_, padded, expected) => {
    const cipher = createCipheriv('aes-128-gcm', OLD, counting(12));
    const text = cipher.update(bytes(padded));
    cipher.final();
    const sealed = Uint8Array.from([0, ...counting(12), ...text, ...cipher.getAuthTag()]);
    expect(opens(keyring, sealed)).toBe(expected);
  });
});
