// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { encodeBech32m } from './bech32m.js';
import {
  forgettable,
  formatToken,
  judgeToken,
  lifetimeFault,
  parseToken,
  TOKEN,
  type TokenRecord,
} from './join-token.js';

const HOUR = 3_600_000;
const token = {
  home: '00000000000000a1',
  id: '0102030405060708',
  secret: Uint8Array.from({ length: TOKEN.secretBytes }, (_, at) => at),
  rootFingerprint: 'ab'.repeat(32),
};

function record(changed: Partial<TokenRecord> = {}): TokenRecord {
  const { id } = token;
  const base = { id, secretHash: '00'.repeat(32), role: 'member', createdBy: 'root', used: undefined } as const;
  return { ...base, createdMs: 0, expiresMs: HOUR, ...changed };
}

describe("a join token's text", () => {
  it('is read as it was written, whatever white space a terminal has put in', () => {
    const text = formatToken(token);
    expect(text).toMatch(/^marcher1[02-9ac-hj-np-z]{117}$/);
    expect(parseToken(` ${text.slice(0, 40)}\n  ${text.slice(40)}\r\n`)).toEqual({ kind: 'token', token });
  });

  it.each([
    ['nothing', '', /begin with "marcher1"/],
    ['another text', 'ssh-ed25519 AAAA', /begin with "marcher1"/],
    ['a part of it', formatToken(token).slice(0, -1), /damaged: copy it again/],
    ['one character changed', formatToken(token).replace(/.$/, (last) => (last === 'q' ? 'p' : 'q')), /damaged/],
    ['more than a token', 'marcher1'.padEnd(1_001, 'q'), /too long/],
    ['a newer version', encodeBech32m('marcher', Uint8Array.of(2, 0, 0)), /newer version/],
    ['no bytes', encodeBech32m('marcher', new Uint8Array(0)), /newer version|damaged/],
    ['too few bytes', encodeBech32m('marcher', Uint8Array.of(1, 0, 0)), /damaged/],
    ['no home', formatToken({ ...token, home: '0'.repeat(16) }), /names no node/],
  ])('is refused: %s', (_, text, reason) => {
    const parsed = parseToken(text);
    expect(parsed).toMatchObject({ kind: 'fault', reason: expect.stringMatching(reason) });
    // No part of what was pasted may reach a log.
    if (text.length > 20) expect(JSON.stringify(parsed)).not.toContain(text.slice(8, 20));
  });
});

describe('a join token', () => {
  it('is good until its last millisecond', () => {
    expect(judgeToken(record(), true, HOUR).kind).toBe('good');
    expect(judgeToken(record(), true, HOUR + 1)).toMatchObject({ refusal: 'expired' });
  });

  it('is called used, also when it has expired since', () => {
    const used = { atMs: 5, nodeId: '00000000000000b2' };
    expect(judgeToken(record({ used }), true, 2 * HOUR)).toMatchObject({
      refusal: 'used',
      reason: expect.stringContaining('00000000000000b2'),
    });
  });

  it('tells whoever has another secret nothing of its state', () => {
    const used = { atMs: 5, nodeId: '00000000000000b2' };
    const unknown = judgeToken(undefined, false, 0);
    expect(unknown).toMatchObject({ refusal: 'unknown' });
    expect(judgeToken(record({ used }), false, 0)).toEqual(unknown);
    expect(judgeToken(record(), false, 2 * HOUR)).toEqual(unknown);
  });

  it('lasts from a minute to a week', () => {
    for (const fine of [60_000, HOUR, 7 * 24 * HOUR]) expect(lifetimeFault(fine)).toBeUndefined();
    for (const bad of [59_999, 7 * 24 * HOUR + 1, 0, -1, Number.NaN]) expect(lifetimeFault(bad)).toContain('7 days');
  });
});

describe('room for join tokens', () => {
  const used = (atMs: number) => ({ atMs, nodeId: '00000000000000b2' });

  it('forgets those spent a week ago, and none that can be used', () => {
    const records = [
      record({ id: 'a', used: used(0) }),
      record({ id: 'b', expiresMs: 1_000 }),
      record({ id: 'c', expiresMs: 9 * 24 * HOUR }),
      record({ id: 'd', used: used(6 * 24 * HOUR) }),
    ];
    expect(forgettable(records, 7 * 24 * HOUR + 2_000)).toEqual(['a', 'b']);
  });

  it('forgets the one that was spent first when it is full', () => {
    const open = Array.from({ length: TOKEN.countMax - 2 }, (_, at) => record({ id: `open-${at}` }));
    const full = [...open, record({ id: 'late', used: used(200) }), record({ id: 'early', used: used(100) })];
    expect(forgettable(full, 300)).toEqual(['early']);
    expect(forgettable([...open, record({ id: 'x' }), record({ id: 'y' })], 300)).toEqual([]);
  });
});
