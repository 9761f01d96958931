// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { type CertificateAuthority, IdentityError } from '../../../ports/identity.js';
import type { GiveGossipKeys, GossipKeysAnswer } from '../../../ports/mesh.js';
import { gossipKey } from '../identity/new-ids.js';
import { testAuthority } from '../identity/testing/mesh.js';
import { gossipKeysOf } from './keys-client.js';
import { identity, idOf, openServer, type TestIdentity } from './testing/live-mesh.js';

let authority: CertificateAuthority;
let one: TestIdentity;
let two: TestIdentity;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
  [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
});

async function ask(gossipKeys?: GiveGossipKeys, holder = 1n): Promise<GossipKeysAnswer> {
  const { port } = await openServer(one, { gossipKeys });
  const target = { host: '127.0.0.1', port };
  return await gossipKeysOf({ target, holder: idOf(holder), mesh: two.mesh, timeoutMs: 10_000 });
}

const keys = [gossipKey(randomBytes(32)), gossipKey(randomBytes(32))];
const primary = keys[0]?.id ?? '';
const target = { keyId: primary, createdMs: 1_795_000_000_000, createdBy: idOf(1n), withheldFrom: [idOf(9n)] };

test('a node gets the keys of another as the one that its certificate names', async () => {
  const askers: string[] = [];
  const given = await ask((nodeId) => {
    askers.push(nodeId);
    return { keys, primary, target };
  });
  expect(given).toMatchObject({ primary, target });
  expect(given.keys.map(({ id, key }) => [id, Buffer.from(key)])).toEqual(keys.map(({ id, key }) => [id, key]));
  expect(askers).toEqual([idOf(2n)]);
  expect(await ask(() => ({ keys, primary, target: undefined }))).toMatchObject({ target: undefined });
});

test('whoever is refused is told why; a failure says nothing of what went wrong', async () => {
  const refuses = (error: Error) => () => {
    throw error;
  };
  await expect(ask(refuses(new IdentityError('refused', 'you were removed')))).rejects.toMatchObject({
    code: 'refused',
    message: expect.stringMatching(/^127\.0\.0\.1:\d+ did not give the keys of gossip: you were removed$/),
  });
  await expect(ask(refuses(new Error('secret')))).rejects.toThrow('the log of the node says why');
  await expect(ask()).rejects.toThrow('gives the keys of gossip to nobody');
});

test('keys that are none, another node in its place, and nobody there', async () => {
  const short = { id: 'x', key: new Uint8Array(16) };
  await expect(ask(() => ({ keys: [short], primary, target }))).rejects.toMatchObject({ code: 'invalid' });
  const many = Array.from({ length: 9 }, () => gossipKey(randomBytes(32)));
  await expect(ask(() => ({ keys: many, primary, target }))).rejects.toMatchObject({ code: 'invalid' });
  const wrong = ask(() => ({ keys, primary, target }), 3n);
  await expect(wrong).rejects.toMatchObject({ code: 'io' });
  const nobody = gossipKeysOf({
    target: { host: '127.0.0.1', port: 9 },
    holder: idOf(1n),
    mesh: two.mesh,
    timeoutMs: 10_000,
  });
  await expect(nobody).rejects.toMatchObject({ code: 'io' });
});
