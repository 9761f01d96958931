// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import {
  EMPTY_BOOK,
  formatBook,
  isTargetName,
  named,
  parseBook,
  type StoredSession,
  withCurrent,
  withoutTarget,
  withRenewed,
  withSession,
  withTarget,
} from './address-book.js';
import { parseTarget } from './target.js';

const url = 'https://192.0.2.1:7443';
const session: StoredSession = { user: 'alice', token: 'secret-1', grantedMs: 1, expiresMs: 2, endsMs: 3 };
const book = withTarget(withTarget(EMPTY_BOOK, 'prod', { url, ca: 'PEM' }), 'lab', { url: 'unix:/tmp/a.sock' });

describe('a book of targets', () => {
  test('is the same once it was written and read', () => {
    const whole = withCurrent(withSession(book, 'prod', session), 'prod');
    expect(parseBook(formatBook(whole))).toEqual(whole);
    expect(parseBook(formatBook(EMPTY_BOOK))).toEqual(EMPTY_BOOK);
  });

  test('has each name once, and none that is an address or of this machine', () => {
    expect(() => withTarget(book, 'prod', { url })).toThrow(expect.objectContaining({ code: 'taken' }));
    for (const name of ['', 'local', '-a', 'a b', 'a:1', 'a/b', 'ä', 'x'.repeat(64)]) {
      expect(() => withTarget(book, name, { url })).toThrow(expect.objectContaining({ code: 'invalid' }));
    }
    // What could be both would be taken for one or the other.
    for (const address of [url, 'unix:m.sock', '/run/m.sock', './m.sock', 'host:1', '[::1]:7000']) {
      expect(isTargetName(address)).toBe(false);
    }
    for (const name of ['prod', 'prod.eu-1', 'a'.repeat(63)]) expect(() => parseTarget(name)).toThrow();
  });

  test('forgets a target with its session, and that it was the one in use', () => {
    const used = withCurrent(withSession(book, 'prod', session), 'prod');
    const without = withoutTarget(used, 'prod');
    expect(without.current).toBeUndefined();
    expect(formatBook(without)).not.toContain('secret-1');
    expect(withoutTarget(used, 'lab').current).toBe('prod');
    expect(withCurrent(used, 'local').current).toBeUndefined();
    for (const change of [withoutTarget, withCurrent, named]) {
      expect(() => change(book, 'none')).toThrow(expect.objectContaining({ code: 'missing' }));
    }
  });

  test('a renewed token takes the place of its own one alone: a logout or another login stands', () => {
    const renewed = { ...session, token: 'secret-2' };
    const open = withSession(book, 'prod', session);
    expect(named(withRenewed(open, 'prod', 'secret-1', renewed), 'prod').session).toEqual(renewed);
    const left = withSession(open, 'prod', undefined);
    expect(withRenewed(left, 'prod', 'secret-1', renewed)).toBe(left);
    const other = withSession(open, 'prod', { ...session, user: 'bob', token: 'of-bob' });
    expect(withRenewed(other, 'prod', 'secret-1', renewed)).toBe(other);
    expect(withRenewed(withoutTarget(open, 'prod'), 'prod', 'secret-1', renewed).targets.has('prod')).toBe(false);
  });

  test.each([
    ['no JSON', '{"version":1,"secret-1'],
    ['a list', '[]'],
    ['a newer one', '{"version":2,"targets":{}}'],
    ['no targets', '{"version":1}'],
    ['a current one that is not there', '{"version":1,"current":"x","targets":{}}'],
    ['a name of this machine', `{"version":1,"targets":{"local":{"url":"${url}"}}}`],
    ['no address', '{"version":1,"targets":{"a":{"url":"ftp://x"}}}'],
    ['a CA that is no text', `{"version":1,"targets":{"a":{"url":"${url}","ca":1}}}`],
    [
      'times that are none',
      `{"version":1,"targets":{"a":{"url":"${url}","session":{"user":"a","token":"secret-1","grantedMs":"1"}}}}`,
    ],
  ])('%s is refused, and nothing of it is repeated', (_what, text) => {
    expect(() => parseBook(text)).toThrow(
      expect.objectContaining({ code: 'invalid', message: expect.not.stringContaining('secret-1') }),
    );
  });
});
