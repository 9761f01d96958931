// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatToken, parseToken, TOKEN } from '../../../domain/identity/join-token.js';
import type { TokenStore } from '../../../ports/identity.js';
import { JoinTokens } from './join-tokens.js';
import { NODE_A, NODE_B, testDirectory } from './testing/directory.js';
import { createTokensInMemory, openTokenFile } from './token-records.js';
import { tokenRecord } from './token-store-compliance.js';

const HOUR = 3_600_000;
const request = { role: 'member', lifetimeMs: HOUR, createdBy: 'root', rootFingerprint: 'ab'.repeat(32) } as const;
const source = '192.0.2.1';

function opened(store: TokenStore = createTokensInMemory()): JoinTokens {
  return new JoinTokens(store, NODE_A);
}

describe('join tokens', () => {
  it('let one machine in, with the role that they were made for', () => {
    const tokens = opened();
    const { text, record } = tokens.create({ ...request, role: 'authority' }, 0);
    const redemption = tokens.redeem(text, 1_000);
    expect(redemption).toMatchObject({ kind: 'redeemed', role: 'authority' });
    const nodeId = redemption.kind === 'redeemed' ? redemption.nodeId : '';
    expect(tokens.list()).toEqual([{ ...record, used: { atMs: 1_000, nodeId } }]);
  });

  it('put a node into clusters as their home has kept it, of which nothing is in what the joiner has', () => {
    const directory = testDirectory();
    const tokens = opened(openTokenFile(directory));
    const { text } = tokens.create({ ...request, clusters: ['eu', 'us'] }, 0);
    const plain = tokens.create(request, 0);
    expect(text).toHaveLength(plain.text.length);
    const again = opened(openTokenFile(directory));
    expect(again.redeem(text, 1)).toMatchObject({ kind: 'redeemed', clusters: ['eu', 'us'] });
    expect(again.redeem(plain.text, 1)).toMatchObject({ kind: 'redeemed', clusters: [] });
  });

  it('carry the fingerprint of the root, for the joiner to pin', () => {
    const { text } = opened().create(request, 0);
    expect(parseToken(text)).toMatchObject({ token: { home: NODE_A, rootFingerprint: request.rootFingerprint } });
  });

  it('are refused when replayed, after a restart too', () => {
    const directory = testDirectory();
    const { text } = opened(openTokenFile(directory)).create(request, 0);
    expect(opened(openTokenFile(directory)).redeem(text, 1).kind).toBe('redeemed');
    expect(opened(openTokenFile(directory)).redeem(text, 2)).toMatchObject({ refusal: 'used' });
  });

  it('are refused when another call has used them meanwhile', () => {
    const store = createTokensInMemory();
    const { text, record } = opened(store).create(request, 0);
    const late = opened({ ...store, find: () => record });
    expect(opened(store).redeem(text, 1).kind).toBe('redeemed');
    expect(late.redeem(text, 1)).toMatchObject({ kind: 'refused', refusal: 'used' });
  });

  it('are refused when expired, elsewhere, removed or tampered with', () => {
    const tokens = opened();
    const { text, record } = tokens.create(request, 0);
    expect(tokens.redeem(text, HOUR + 1)).toMatchObject({ refusal: 'expired' });
    expect(new JoinTokens(createTokensInMemory(), NODE_B).redeem(text, 1)).toMatchObject({
      refusal: 'elsewhere',
      reason: expect.stringContaining(NODE_A),
    });
    expect(tokens.redeem(text.slice(0, -1), 1)).toMatchObject({ refusal: 'not-a-token' });
    const parsed = parseToken(text);
    if (parsed.kind === 'fault') throw new Error(parsed.reason);
    const secret = parsed.token.secret.slice();
    secret[0] = (secret[0] ?? 0) ^ 1;
    expect(tokens.redeem(formatToken({ ...parsed.token, secret }), 1)).toMatchObject({ refusal: 'unknown' });
    expect(tokens.redeem(formatToken({ ...parsed.token, id: '0'.repeat(16) }), 1)).toMatchObject({
      refusal: 'unknown',
    });
    expect(tokens.remove(record.id)).toBe(true);
    expect(tokens.redeem(text, 1)).toMatchObject({ refusal: 'unknown' });
  });

  it('are kept without their secret', () => {
    const directory = testDirectory();
    const { text } = opened(openTokenFile(directory)).create(request, 0);
    const parsed = parseToken(text);
    const secret = Buffer.from(parsed.kind === 'token' ? parsed.token.secret : []);
    const file = readFileSync(join(directory, 'tokens'), 'utf8');
    for (const form of [secret.toString('hex'), secret.toString('base64'), text.slice(40, 60)]) {
      expect(file).not.toContain(form);
    }
  });

  it('can be tried so often and not more, and a guess spends nothing', () => {
    const rate = { burst: 2, everyMs: 1_000 };
    const tokens = new JoinTokens(createTokensInMemory(), NODE_A, { perSource: rate, total: rate, sourcesMax: 10 });
    const { text } = tokens.create(request, 0);
    for (const at of [0, 0]) expect(tokens.attempt('guess', source, at)).toMatchObject({ refusal: 'not-a-token' });
    expect(tokens.attempt(text, source, 0)).toMatchObject({ kind: 'slowed', retryAfterMs: 1_000 });
    expect(tokens.attempt(text, source, 1_000)).toEqual({ kind: 'good' });
    expect(tokens.redeem(text, 1_000).kind).toBe('redeemed');
    expect(tokens.attempt(text, source, 2_000)).toMatchObject({ refusal: 'used' });
  });

  it('make room for others when spent, and are as many as are allowed at most', () => {
    const others = Array.from({ length: TOKEN.countMax - 1 }, (_, at) => ({ ...tokenRecord(at + 1), expiresMs: HOUR }));
    const store = createTokensInMemory(others);
    const tokens = opened(store);
    const { text, record } = tokens.create(request, 0);
    expect(() => tokens.create(request, 0)).toThrow(expect.objectContaining({ code: 'limit' }));
    tokens.redeem(text, 1);
    tokens.create(request, 2);
    expect(store.find(record.id)).toBeUndefined();
    expect(tokens.redeem(text, 3)).toMatchObject({ refusal: 'unknown' });
    expect(() => tokens.create({ ...request, lifetimeMs: 1 }, 2)).toThrow(expect.objectContaining({ code: 'invalid' }));
  });
});
