// SPDX-License-Identifier: Apache-2.0
import { CertificateSource } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { expect, test } from 'vitest';
import { simulatedAgents } from '../testing/index.js';
import {
  assignCluster,
  createApiKey,
  createCluster,
  createJoinToken,
  createUser,
  type Deed,
  deleteCertificate,
  importCertificate,
  issueCertificate,
  removeMember,
  removeUser,
  renewCertificate,
  revokeApiKey,
  revokeCertificate,
  rotateApiKey,
  setRole,
} from './index.js';

const VIEWER = { role: 'viewer', clusters: [], services: [] } as const;

function simulation() {
  const mesh = simulatedAgents({ nodes: 3 });
  return { mesh, calls: mesh.reach.entry, administration: mesh.administration };
}

/** Done, and taken back by what it has given for that. */
async function there(deed: Deed): Promise<Deed> {
  expect(deed.lasting).toBeUndefined();
  const { undo } = await deed.apply();
  if (undo === undefined) throw new Error(`${deed.title} says that it can be undone, and gives nothing that does it`);
  return undo;
}

test('a user is made, given another role, and both are taken back', async () => {
  const { calls, administration } = simulation();
  const removal = await there(createUser(calls, 'eve', VIEWER, 'correct horse battery'));
  const made = administration.users.get('eve');
  if (made === undefined) throw new Error('eve was not made');
  const back = await there(setRole(calls, made, { role: 'owner', clusters: ['eu'], services: ['web'] }));
  expect(administration.users.get('eve')?.scope).toMatchObject({ clusters: ['eu'], services: ['web'] });
  await back.apply();
  expect(administration.users.get('eve')?.scope?.clusters).toEqual([]);
  expect(removal.confirmation).toMatchObject({ kind: 'typed', text: 'eve' });
  await removal.apply();
  expect(administration.users.has('eve')).toBe(false);
});

test('what somebody else has changed since it was looked at is left as it is', async () => {
  const { calls, administration, mesh } = simulation();
  const [user] = administration.users.values();
  const [key, rotated] = administration.keys.values();
  const certificate = administration.certificates.get('web');
  if (user === undefined || key === undefined || rotated === undefined || certificate === undefined)
    throw new Error('nothing was simulated');
  await calls.access.setRole({ name: user.name, role: 3 });
  await calls.certificates.renewCertificate({ name: 'web' });
  await calls.access.revokeApiKey({ id: key.id });
  await mesh.advance(1_000);
  await calls.access.rotateApiKey({ id: rotated.id });
  for (const deed of [
    setRole(calls, user, VIEWER),
    removeUser(calls, user),
    rotateApiKey(calls, key, 24),
    revokeApiKey(calls, key),
    revokeApiKey(calls, rotated),
    renewCertificate(calls, certificate, undefined),
    revokeCertificate(calls, certificate, 'superseded'),
    deleteCertificate(calls, certificate),
  ]) {
    await expect(deed.apply(), deed.title).rejects.toMatchObject({ code: 'conflict' });
  }
  expect(administration.users.has(user.name)).toBe(true);
  expect(administration.certificates.get('web')?.revoked).toBeUndefined();
});

test('a secret is in the answer, and in no title, sentence or command', async () => {
  const { calls } = simulation();
  const password = 'correct horse battery';
  const privateKey = new TextEncoder().encode('-----BEGIN PRIVATE KEY-----\nMHcC');
  const chain = '-----BEGIN CERTIFICATE-----';
  const deeds = [
    createUser(calls, 'eve', VIEWER, password),
    createApiKey(calls, 'ci-2', VIEWER, 30),
    createJoinToken(calls, { minutes: 60, role: 'member', clusters: [] }),
    importCertificate(calls, { name: 'shop', chain, privateKey, replace: false }),
  ];
  for (const deed of deeds) {
    const { secret, undo, text } = await deed.apply();
    const said = [deed.title, ...deed.consequences, deed.asCommand(), text, undo?.title, undo?.asCommand()].join('\n');
    for (const hidden of [password, 'MHcC', secret?.text ?? password]) expect(said).not.toContain(hidden);
  }
  expect((await createApiKey(calls, 'ci-3', VIEWER, 30).apply()).secret?.text).toMatch(/^mk_/);
});

test('an issued certificate that is not wanted after all is revoked, then forgotten', async () => {
  const { calls, administration } = simulation();
  const undo = await there(issueCertificate(calls, { name: 'shop', names: ['a.example'], days: 90, usage: 'server' }));
  expect(undo.asCommand().split('\n')).toEqual([
    'marcher certificate revoke shop --reason cessation-of-operation -y',
    'marcher certificate delete shop -y',
  ]);
  await undo.apply();
  expect(administration.certificates.has('shop')).toBe(false);
});

test('what can not be taken back says so before, and gives nothing that would', async () => {
  const { calls, administration } = simulation();
  const certificate = administration.certificates.get('legacy');
  if (certificate?.source !== CertificateSource.IMPORTED) throw new Error('legacy is imported');
  const [member] = administration.clusters.get('us')?.nodes ?? [];
  if (member === undefined) throw new Error('a node is in us');
  const removal = removeMember(calls, member, [...administration.clusters.values()]);
  expect(removal.consequences.join(' ')).toContain('It is the last node of cluster us: What is in it is gone then.');
  for (const deed of [deleteCertificate(calls, certificate), removal]) {
    expect(deed.lasting).toBeDefined();
    expect(deed.confirmation.kind).toBe('typed');
    expect((await deed.apply()).undo).toBeUndefined();
  }
  await expect(removal.apply()).rejects.toMatchObject({ code: 'conflict' });
});

test('a node is put into a new cluster and out of it again, and the cluster is gone after that', async () => {
  const { calls, administration, mesh } = simulation();
  const gone = await there(createCluster(calls, 'ap'));
  const cluster = administration.clusters.get('ap');
  if (cluster === undefined) throw new Error('ap was not made');
  const node = { nodeId: mesh.entry.id, name: mesh.entry.name };
  const out = await there(assignCluster(calls, cluster, node));
  await expect(gone.apply()).rejects.toMatchObject({ code: 'conflict' });
  await out.apply();
  await gone.apply();
  expect(administration.clusters.has('ap')).toBe(false);
});
