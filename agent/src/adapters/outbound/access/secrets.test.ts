// SPDX-License-Identifier: Apache-2.0
import { hash } from '@node-rs/argon2';
import { describe, expect, test } from 'vitest';
import { createArgon2Hasher } from './argon2-hasher.js';
import { nodeSecrets } from './node-secrets.js';
import { createTotpCodes } from './totp-codes.js';

const cheap = { memoryKib: 8, passes: 1 };

describe('passwords', () => {
  const hasher = createArgon2Hasher(cheap);

  test('are Argon2id with a salt each, and verified by what stands in the hash', async () => {
    const [one, two] = await Promise.all([hasher.hash('abc'), hasher.hash('abc')]);
    expect(one).toMatch(/^\$argon2id\$v=19\$m=8,t=1,p=1\$/);
    expect(one).not.toBe(two);
    const dearer = createArgon2Hasher({ memoryKib: 16, passes: 2 });
    expect(await dearer.verify(one, 'abc')).toBe(true);
    expect(await hasher.verify(await dearer.hash('abc'), 'abc')).toBe(true);
    expect(await hasher.verify(one, 'abd')).toBe(false);
    expect(await hasher.verify(undefined, 'nobody has this password')).toBe(false);
  });

  test('what another node has written is not to take all memory, or to be no hash', async () => {
    const hash = await hasher.hash('abc');
    for (const bad of [
      '',
      'x',
      hash.replace('m=8', 'm=4000000'),
      hash.replace('argon2id', 'argon2i'),
      hash.slice(0, -9),
    ]) {
      expect(await hasher.verify(bad, 'abc')).toBe(false);
    }
  });

  // The right password, so that nothing but the bound refuses it; what is dear is made once, with one pass.
  test.each([
    ['as much memory as there may be', { memoryCost: 128 * 1024, timeCost: 1, parallelism: 1 }, true],
    ['more memory than that', { memoryCost: 128 * 1024 + 8, timeCost: 1, parallelism: 1 }, false],
    ['as many passes', { memoryCost: 8, timeCost: 16, parallelism: 1 }, true],
    ['more passes', { memoryCost: 8, timeCost: 17, parallelism: 1 }, false],
    ['more lanes', { memoryCost: 16, timeCost: 1, parallelism: 2 }, false],
  ])('a hash that takes %s', async (_what, options, taken) =>
    expect(await hasher.verify(await hash('abc', options), 'abc')).toBe(taken),
  );

  test('a few at a time, some wait, more are told to come again', async () => {
    const answers = await Promise.allSettled(Array.from({ length: 50 }, () => hasher.hash('abc')));
    const refused = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
    expect(refused).toHaveLength(50 - 2 - 32);
    expect(refused[0]).toMatchObject({ code: 'unavailable' });
    expect(await hasher.verify(await hasher.hash('abc'), 'abc')).toBe(true);
  });

  test('the sealing key is another than what the hash has', async () => {
    const salt = new Uint8Array(16);
    const key = await hasher.sealingKey('abc', salt);
    expect(key).toHaveLength(32);
    expect(await hasher.sealingKey('abc', salt)).toEqual(key);
    expect(await hasher.sealingKey('abd', salt)).not.toEqual(key);
  });
});

test('what is sealed opens by its key and for its context alone', () => {
  const [key, plain] = [nodeSecrets.random(32), nodeSecrets.random(20)];
  const sealed = nodeSecrets.seal(key, plain, 'a');
  expect(nodeSecrets.open(key, sealed, 'a')).toEqual(plain);
  expect(nodeSecrets.open(key, sealed, 'b')).toBeUndefined();
  expect(nodeSecrets.open(nodeSecrets.random(32), sealed, 'a')).toBeUndefined();
  for (let at = 0; at < sealed.length; at++) {
    expect(nodeSecrets.open(key, sealed.with(at, (sealed[at] ?? 0) ^ 1), 'a')).toBeUndefined();
  }
  for (const length of [0, 12, 27, 28, sealed.length - 1]) {
    expect(nodeSecrets.open(key, sealed.subarray(0, length), 'a')).toBeUndefined();
  }
});

describe('codes', () => {
  const codes = createTotpCodes();
  const secret = new TextEncoder().encode('12345678901234567890');

  // RFC 6238, appendix B, the last six of its eight digits.
  test.each([
    [59, '287082'],
    [1_111_111_109, '081804'],
    [1_111_111_111, '050471'],
    [1_234_567_890, '005924'],
    [2_000_000_000, '279037'],
    [20_000_000_000, '353130'],
  ])('at %i s it is %s', (seconds, code) => {
    const step = Math.floor(seconds / 30);
    expect(codes.stepOf(secret, code, seconds * 1_000)).toBe(step);
    expect(codes.stepOf(secret, code, (seconds + 30) * 1_000)).toBe(step);
    expect(codes.stepOf(secret, code, (seconds - 30) * 1_000)).toBe(step);
    expect(codes.stepOf(secret, code, (seconds + 60) * 1_000)).toBeUndefined();
  });

  test.each(['', '28708', '2870821', '28708a', '٢٨٧٠٨٢', ' 287082'])('%j is no code', (code) =>
    expect(codes.stepOf(secret, code, 59_000)).toBeUndefined(),
  );

  test('a secret is shown as authenticators read it', () => {
    const { base32, uri } = codes.show(secret, 'alice', 'Marcher prod');
    expect(base32).toBe('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ');
    expect(new URL(uri).searchParams.get('secret')).toBe(base32);
    expect(uri).toMatch(/^otpauth:\/\/totp\/Marcher%20prod:alice\?/);
    expect(codes.newSecret()).toHaveLength(20);
  });
});
