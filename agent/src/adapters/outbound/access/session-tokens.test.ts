// SPDX-License-Identifier: Apache-2.0
import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { SESSION } from '../../../domain/access/session.js';
import type { SessionClaims } from '../../../ports/access.js';
import { createSessionTokens } from './session-tokens.js';

const meshId = 'ab'.repeat(16);
const [own, other] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
const NODE = '00000000000000a1';
const OTHER = '00000000000000b2';
const members = new Map([
  [NODE, own.publicKey],
  [OTHER, other.publicKey],
]);
const keyOf = (node: string) => members.get(node);
const now = Date.UTC(2026, 10, 22) + 123;
const tokens = createSessionTokens({ meshId, nodeId: NODE, key: own.privateKey, keyOf });
const claims: SessionClaims = { user: 'alice', id: 'c0'.repeat(16), startedMs: now, expiresMs: now + SESSION.tokenMs };

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const header = { alg: 'EdDSA', kid: NODE, typ: 'marcher-session+jwt' };
const seconds = now / 1_000;
const payload = {
  sid: claims.id,
  auth_time: seconds,
  sub: 'alice',
  aud: meshId,
  iat: seconds,
  exp: seconds + SESSION.tokenMs / 1_000,
};

function forge(changedHeader: object, changedPayload: object, key = own.privateKey): string {
  const text = `${encode({ ...header, ...changedHeader })}.${encode({ ...payload, ...changedPayload })}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

test('what one node signs, each verifies, to the millisecond', async () => {
  const token = await tokens.sign(claims, now);
  expect(await tokens.verify(token, now)).toEqual(claims);
  const elsewhere = createSessionTokens({ meshId, nodeId: OTHER, key: other.privateKey, keyOf });
  expect(await elsewhere.verify(token, now)).toEqual(claims);
  expect(await elsewhere.verify(await elsewhere.sign(claims, now), now)).toEqual(claims);
  expect(await tokens.verify(forge({}, {}), now)).toEqual(claims);
});

test.each([
  ['of no algorithm', `${encode({ ...header, alg: 'none' })}.${encode(payload)}.`],
  ['of another algorithm', forge({ alg: 'HS256' }, {})],
  ['of another type', forge({ typ: 'JWT' }, {})],
  ['of another node than it says', forge({}, {}, other.privateKey)],
  ['of a node that is not in the mesh', forge({ kid: '00000000000000c3' }, {})],
  ['of no node', forge({ kid: undefined }, {})],
  ['with a key that it brings along', forge({ kid: 'x', jwk: own.publicKey.export({ format: 'jwk' }) }, {})],
  ['with something that has to be understood', forge({ crit: ['x'], x: 1 }, {})],
  ['for another mesh', forge({}, { aud: 'cd'.repeat(16) })],
  ['for no mesh', forge({}, { aud: undefined })],
  ['that lasts for ever', forge({}, { exp: undefined })],
  ['that lasts too long', forge({}, { exp: seconds + SESSION.tokenMs / 1_000 + 1 })],
  ['of the future', forge({}, { iat: seconds + 60, exp: seconds + 120 })],
  ['of a session of the future', forge({}, { auth_time: seconds + 60 })],
  ['that is over', forge({}, { iat: seconds - 600, exp: seconds - 6 })],
  ['that is not valid yet', forge({}, { nbf: seconds + 60 })],
  ['of nobody', forge({}, { sub: undefined })],
  ['of a session that is none', forge({}, { sid: 'x' })],
  ['of times that are none', forge({}, { auth_time: '1' })],
  ['that is none', 'a.b.c'],
  ['that is empty', ''],
])('a token %s is worth nothing', async (_what, token) => expect(await tokens.verify(token, now)).toBeUndefined());

test('one that was signed by the public key as a secret is worth nothing', async () => {
  const text = `${encode({ ...header, alg: 'HS256' })}.${encode(payload)}`;
  const pem = own.publicKey.export({ format: 'pem', type: 'spki' });
  const mac = createHmac('sha256', pem).update(text).digest('base64url');
  expect(await tokens.verify(`${text}.${mac}`, now)).toBeUndefined();
});

// Each of these is signed well, by a key that is trusted: it is the list of algorithms alone that refuses them.
test.each<[string, KeyObject, (text: string) => Buffer]>([
  ['Ed25519', own.publicKey, (text) => sign(null, Buffer.from(text), own.privateKey)],
  ...(['HS256', 'HS384', 'HS512'] as const).map((alg): [string, KeyObject, (text: string) => Buffer] => {
    const secret = createSecretKey(Buffer.alloc(64, 7));
    return [alg, secret, (text) => createHmac(alg.replace('HS', 'sha'), secret).update(text).digest()];
  }),
  (() => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const signed = (text: string): Buffer =>
      sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return ['ES256', publicKey, signed] as [string, KeyObject, (text: string) => Buffer];
  })(),
])('one of %s is worth nothing, whatever key there is', async (alg, key, signed) => {
  const any = createSessionTokens({ meshId, nodeId: NODE, key: own.privateKey, keyOf: () => key });
  const text = `${encode({ ...header, alg })}.${encode(payload)}`;
  expect(await any.verify(`${text}.${signed(text).toString('base64url')}`, now)).toBeUndefined();
});

test('of a node that was removed they are worth nothing any more', async () => {
  const theirs = createSessionTokens({ meshId, nodeId: OTHER, key: other.privateKey, keyOf });
  const token = await theirs.sign(claims, now);
  members.delete(OTHER);
  expect(await tokens.verify(token, now)).toBeUndefined();
  members.set(OTHER, other.publicKey);
});
