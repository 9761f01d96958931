// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import type { RootRecord } from '../../../domain/identity/root-statement.js';
import { type CertificateAuthority, IdentityError } from '../../../ports/identity.js';
import { testAuthority } from '../identity/testing/mesh.js';
import { authorityKeyOf, rootRecordsOf } from './roots-client.js';
import { identity, idOf, openServer, type TestIdentity } from './testing/live-mesh.js';

let authority: CertificateAuthority;
let one: TestIdentity;
let two: TestIdentity;
let record: RootRecord;

beforeAll(async () => {
  authority = await testAuthority(Date.now());
  [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
  const { fingerprint: root, notBeforeMs: atMs } = authority.certificate;
  record = {
    certificate: new Uint8Array(new X509Certificate(authority.pem).raw),
    plannedMs: atMs,
    endorsements: [await authority.say({ kind: 'introduce', root, atMs })],
    hastened: false,
    signing: { atMs, by: await authority.say({ kind: 'sign', root, atMs }) },
    retirement: undefined,
  };
});

test('whoever asks is told the roots, with what proves them; without a certificate, and of a node of any CA', async () => {
  const { port } = await openServer(one, {
    roots: () => [record, { ...record, endorsements: [], signing: undefined, retirement: record.signing }],
    admit: () => Promise.reject(new Error('nobody joins')),
  });
  const told = await rootRecordsOf({ target: { host: '127.0.0.1', port }, timeoutMs: 10_000 });
  const plain = JSON.parse(JSON.stringify(told, (_key, value) => (value instanceof Uint8Array ? [...value] : value)));
  const bytes = (of: RootRecord): unknown =>
    JSON.parse(JSON.stringify(of, (_key, value) => (value instanceof Uint8Array ? [...value] : value)));
  expect(plain).toEqual([
    bytes(record),
    bytes({ ...record, endorsements: [], signing: undefined, retirement: record.signing }),
  ]);
});

test("a CA's key goes to the node that its certificate names, and who gets none is told why", async () => {
  const asked: string[][] = [];
  const { port } = await openServer(one, {
    authorityKey: (nodeId, root) => {
      asked.push([nodeId, root]);
      if (root === 'aa') return 'sealed';
      if (root === 'bb') throw new IdentityError('refused', 'you hold none');
      throw new Error('secret');
    },
  });
  const ask = (root: string, holder = 1n): Promise<string> =>
    authorityKeyOf({
      target: { host: '127.0.0.1', port },
      holder: idOf(holder),
      root,
      mesh: two.mesh,
      timeoutMs: 10_000,
    });
  expect(await ask('aa')).toBe('sealed');
  expect(asked).toEqual([[idOf(2n), 'aa']]);
  await expect(ask('bb')).rejects.toThrow(/did not give the key of the CA: you hold none$/);
  await expect(ask('cc')).rejects.toThrow('the log of the node says why');
  await expect(ask('aa', 3n)).rejects.toMatchObject({ code: 'io' });
});
