// SPDX-License-Identifier: Apache-2.0
/** A mesh whose root's key is at no node: made, joined, renewed by another intermediate, and by another root; on loopback. */

import { X509Certificate } from 'node:crypto';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import {
  createOfflineRoot,
  fingerprintOf,
  introduceRoot,
  type OfflineRoot,
  revokeIntermediate,
  signIntermediate,
} from '@marcher/ca/offline-root';
import { createCertificateRequest } from '@marcher/client/certificate-request';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CALLER, issuerOf, type Machine, Machines, PATIENCE } from './mesh/testing/machines.js';
import type { MeshRootView, OfferedIntermediate } from './ports/mesh.js';

const DAY_MS = 86_400_000;
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

let machines: Machines;

beforeEach(() => {
  machines = new Machines();
});

afterEach(() => machines.stop());

/** Certificates have whole seconds: what is made later in a test is dated so. */
async function offered(root: OfflineRoot, request: Uint8Array, laterMs = 0): Promise<OfferedIntermediate> {
  return { certificate: await signIntermediate(root, request, 1_095, Date.now() + laterMs), root: root.certificate };
}

const byState = ({ mesh }: Machine): string[] =>
  mesh.ca().roots.map(({ state, issuer }) => `${issuer === '' ? 'root' : 'intermediate'} ${state}`);
const newest = ({ mesh }: Machine): MeshRootView => mesh.ca().roots[0] as MeshRootView;
const idOf = ({ certificate }: OfflineRoot): string => fingerprintOf(certificate);
const keysOf = ({ dir }: Machine): string[] =>
  readdirSync(join(dir, 'identity')).filter((name) => name.startsWith('authority-'));

/** What the mesh port of a machine shows to a program that knows the root alone. */
async function shown({ port }: Machine, root: OfflineRoot): Promise<{ trusted: boolean; length: number }> {
  const ca = new X509Certificate(root.certificate).toString();
  const chainOnly = { rejectUnauthorized: false, checkServerIdentity: () => undefined };
  const socket = connect({ host: '127.0.0.1', port, ca, ...chainOnly, ALPNProtocols: ['h2'] });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  let length = 1;
  for (let at = socket.getPeerX509Certificate(); at?.issuerCertificate !== undefined; length++) {
    if (at.issuerCertificate.fingerprint256 === at.fingerprint256) break;
    at = at.issuerCertificate;
  }
  const trusted = socket.authorized;
  socket.destroy();
  return { trusted, length };
}

test('a mesh lives by intermediates of a root whose key no node has', { timeout: 60_000 }, async () => {
  const one = await machines.start('one');
  const first = await one.mesh.requestIntermediate('edge');
  const root = await createOfflineRoot({ id: first.meshId, name: first.meshName }, Date.now());
  await one.mesh.init('edge', CALLER, await offered(root, first.request));
  expect(byState(one)).toEqual(['intermediate signs', 'root offline']);
  expect(keysOf(one)).toEqual([`authority-${newest(one).fingerprint}`]);
  expect(await shown(one, root)).toEqual({ trusted: true, length: 3 });

  // Another one that signs knows the mesh by its root, and gets the intermediate's key.
  machines.giveToken(one, 'two', 'authority');
  const two = await machines.joined(one, 'two');
  expect(byState(two)).toEqual(['intermediate signs', 'root offline']);
  expect(keysOf(two)).toEqual(keysOf(one));
  const { request } = await createCertificateRequest();
  const issued = await one.mesh.issueCertificate({ user: 'alice', request, lifetimeMs: DAY_MS }, CALLER);
  expect([issued.pem.match(PEM)?.length, issued.roots.match(PEM)?.length]).toEqual([3, 1]);
  const order = {
    name: 'shop',
    names: { dns: ['shop.example.org'], addresses: [] },
    roles: ['server'],
    days: 30,
  } as const;
  await vi.waitFor(() => expect(two.mesh.serviceCertificates?.issue(order, CALLER)).resolves.toBeDefined(), PATIENCE);
  await vi.waitFor(() => {
    const chain = two.mesh.serviceCertificates
      ?.get('shop')
      .chain.match(PEM)
      ?.map((pem) => new X509Certificate(pem));
    expect(chain?.map(({ ca }) => ca)).toEqual([false, true]);
  }, PATIENCE);

  // Nobody changes the CA without the root's key, nor by another's.
  await expect(one.mesh.rotateCa({ overlapMs: DAY_MS, now: true }, CALLER)).rejects.toThrow('--root-key FILE');
  const pace = { overlapMs: DAY_MS, now: true } as const;
  // Newer than what the mesh has, by whole seconds, however little time has gone since.
  const stranger = await createOfflineRoot(root.mesh, Date.now() + 2_000);
  const { request: asked } = await one.mesh.requestIntermediate('');
  const mine = await offered(stranger, asked, 2_000);
  await expect(one.mesh.rotateCa({ ...pace, intermediate: mine }, CALLER)).rejects.toThrow('--root-key FILE');
  const forgedMs = Date.now();
  const by = await introduceRoot({ ...stranger, certificate: root.certificate }, stranger.certificate, forgedMs);
  const endorsement = { by, plannedMs: forgedMs };
  const forged = one.mesh.rotateCa({ ...pace, intermediate: mine, endorsement }, CALLER);
  await expect(forged).rejects.toThrow('not believed here');

  // Another intermediate takes over, as a root would.
  const old = newest(one);
  const next = await offered(root, asked, 2_000);
  const { root: made } = await one.mesh.rotateCa({ ...pace, intermediate: next }, CALLER);
  expect(made).toMatchObject({ issuer: idOf(root), keyHeldBy: ['one'] });
  for (const machine of [one, two]) {
    const states = ['intermediate signs', 'intermediate trusted', 'root offline'];
    await vi.waitFor(() => expect([machine.name, ...byState(machine)]).toEqual([machine.name, ...states]), PATIENCE);
    const before = issuerOf(machine);
    await machine.mesh.renew();
    expect(issuerOf(machine)).not.toBe(before);
  }
  await vi.waitFor(() => expect(newest(two)).toMatchObject({ keyHeldBy: ['one', 'two'] }), PATIENCE);
  expect(await shown(two, root)).toEqual({ trusted: true, length: 3 });

  // The one before is retired, and its root says so to those who hear of nothing else.
  const revocationList = await revokeIntermediate(root, old.serial, Date.now());
  await expect(one.mesh.retireRoot(idOf(root), { force: true }, CALLER)).rejects.toThrow('retire these first');
  const wrong = await revokeIntermediate(root, '5a', Date.now());
  const retire = (list: string) => one.mesh.retireRoot(old.fingerprint, { force: true, revocationList: list }, CALLER);
  await expect(retire(wrong)).rejects.toThrow('does not name the intermediate');
  await expect(retire(await revokeIntermediate(stranger, old.serial, Date.now()))).rejects.toThrow('refused');
  const { cutOff } = await retire(revocationList);
  expect(cutOff.map(({ name }) => name)).toEqual(['alice', 'shop']);
  await vi.waitFor(() => {
    expect(byState(two)).toEqual(['intermediate signs', 'intermediate retired', 'root offline']);
    expect(two.material.at(-1)?.revocations.has(old.serial)).toBe(true);
    expect(two.mesh.revocationLists()).toContain(revocationList);
  }, PATIENCE);

  // Another root, by the word of the first: with its intermediate it takes over, and what is of the first is retired.
  const later = await createOfflineRoot(root.mesh, Date.now() + 4_000);
  const { request: last } = await two.mesh.requestIntermediate('');
  const plannedMs = Date.now() + DAY_MS;
  const word = { by: await introduceRoot(root, later.certificate, plannedMs), plannedMs };
  const order2 = { ...pace, intermediate: await offered(later, last, 4_000), endorsement: word };
  await two.mesh.rotateCa(order2, CALLER);
  for (const machine of [one, two]) {
    await vi.waitFor(() => expect(newest(machine)).toMatchObject({ state: 'signs', issuer: idOf(later) }), PATIENCE);
    await machine.mesh.renew();
  }
  await vi.waitFor(() => {
    const state = (id: string) => two.mesh.ca().roots.find(({ fingerprint }) => fingerprint === id)?.state;
    expect([state(made.fingerprint), state(idOf(later))]).toEqual(['retired', 'offline']);
  }, PATIENCE);
  expect([one, two].map(({ mesh }) => mesh.conditions())).toEqual([[], []]);
});

test('a mesh that was made without comes to have one, and starts with it', { timeout: 60_000 }, async () => {
  const one = await machines.start('one');
  await one.mesh.init('edge', CALLER);
  const before = newest(one);
  const { meshId, meshName, request } = await one.mesh.requestIntermediate('');
  const late = await createOfflineRoot({ id: meshId, name: meshName }, Date.now() - DAY_MS);
  const pace = { overlapMs: DAY_MS, now: true } as const;
  const older = one.mesh.rotateCa({ ...pace, intermediate: await offered(late, request) }, CALLER);
  await expect(older).rejects.toThrow('not newer than what the mesh has: set the clock');
  const root = await createOfflineRoot(late.mesh, Date.now() + 2_000);
  const order = { ...pace, intermediate: await offered(root, request, 2_000) };
  await one.mesh.rotateCa(order, CALLER);
  // Its key was for one intermediate.
  await expect(one.mesh.rotateCa({ ...order, now: false }, CALLER)).rejects.toThrow();
  await vi.waitFor(() => expect(newest(one)).toMatchObject({ state: 'signs', issuer: idOf(root) }), PATIENCE);
  await one.mesh.renew();
  const stateOf = ({ mesh }: Machine, id: string) =>
    mesh.ca().roots.find(({ fingerprint }) => fingerprint === id)?.state;
  await vi.waitFor(() => expect(stateOf(one, before.fingerprint)).toBe('retired'), PATIENCE);
  await one.stop();
  const again = await machines.start('one', { port: one.port });
  expect([again.mesh.status().signs, ...byState(again)]).toEqual([
    true,
    ...['intermediate signs', 'root retired', 'root offline'],
  ]);
  expect(again.mesh.roots()).toContain(new X509Certificate(root.certificate).toString());

  // What opens its key was stolen with it, and taken away: with the root's key a node that can't sign comes to sign again.
  await again.stop();
  rmSync(join(one.dir, 'ca.key'));
  const without = await machines.start('one', { port: one.port });
  expect(without.mesh.status().signs).toBe(false);
  const { request: asked } = await without.mesh.requestIntermediate('');
  await without.mesh.rotateCa({ ...pace, intermediate: await offered(root, asked, 4_000) }, CALLER);
  await vi.waitFor(() => expect(byState(without)[0]).toBe('intermediate signs'), PATIENCE);
  expect([without.mesh.status().signs, statSync(join(one.dir, 'ca.key')).mode & 0o777]).toEqual([true, 0o600]);
});
