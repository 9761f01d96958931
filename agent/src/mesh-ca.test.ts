// SPDX-License-Identifier: Apache-2.0
/** The mesh's CA is changed under nodes that are there, away, and joining: over TLS, gossip and SQLite, on loopback. */
import { createCertificateRequest } from '@marcher/client/certificate-request';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CALLER, issuerOf, type Machine, Machines, PATIENCE } from './mesh/testing/machines.js';
import type { MeshLeafView, MeshRootView } from './ports/mesh.js';

const DAY_MS = 86_400_000;

let machines: Machines;

const states = ({ mesh }: Machine): string[] => mesh.ca().roots.map(({ state }) => state);
const newest = ({ mesh }: Machine): MeshRootView => mesh.ca().roots[0] as MeshRootView;
const named = (leaves: readonly MeshLeafView[]): string[] => leaves.map(({ name }) => name).sort();

beforeEach(() => {
  machines = new Machines();
});

afterEach(() => machines.stop());

test('a new root takes over; who was away comes to trust it, and who is left behind is told', {
  timeout: 60_000,
}, async () => {
  const one = await machines.start('one');
  await one.mesh.init('edge', CALLER);
  machines.giveToken(one, 'two', 'authority');
  const two = await machines.joined(one, 'two');
  machines.giveToken(one, 'away');
  machines.giveToken(one, 'lost');
  const away = await machines.joined(one, 'away');
  const lost = await machines.joined(one, 'lost');
  machines.giveToken(one, 'four');
  const { request } = await createCertificateRequest();
  const { details } = await one.mesh.issueCertificate({ user: 'alice', request, lifetimeMs: DAY_MS }, CALLER);
  await expect(lost.mesh.rotateCa({ overlapMs: DAY_MS, now: true }, CALLER)).rejects.toThrow('these do: one, two');
  await vi.waitFor(() => expect(two.mesh.members()).toHaveLength(4), PATIENCE);
  await Promise.all([away.stop(), lost.stop()]);
  const old = issuerOf(one);

  // Nothing signs by it yet, but all that are there trust it, and the other one that signs gets its key, sealed.
  const { root: made } = await one.mesh.rotateCa({ overlapMs: DAY_MS, now: false }, CALLER);
  await vi.waitFor(() => {
    for (const machine of [one, two]) {
      expect([machine.name, ...states(machine)]).toEqual([machine.name, 'introduced', 'signs']);
      expect(newest(machine)).toMatchObject({ trustedBy: ['one', 'two'], keyHeldBy: ['one', 'two'] });
      expect(machine.material.at(-1)?.roots).toHaveLength(2);
    }
  }, PATIENCE);
  await expect(two.mesh.rotateCa({ overlapMs: DAY_MS, now: false }, CALLER)).rejects.toThrow(
    'was introduced and signs',
  );
  await expect(one.mesh.retireRoot(made.fingerprint, { force: true }, CALLER)).rejects.toThrow('no newer root signs');

  // What it has of that is there again after a start.
  await two.stop();
  const second = await machines.start('two', { port: two.port });
  expect(states(second)).toEqual(['introduced', 'signs']);
  expect(newest(second)).toMatchObject({ trustedBy: ['one', 'two'], keyHeldBy: ['one', 'two'] });
  const hastened = await one.mesh.rotateCa({ overlapMs: DAY_MS, now: true }, CALLER);
  expect(hastened).toMatchObject({ introduced: false, root: { fingerprint: made.fingerprint } });
  for (const machine of [one, second]) {
    await vi.waitFor(
      () => expect([machine.name, ...states(machine)]).toEqual([machine.name, 'signs', 'trusted']),
      PATIENCE,
    );
    await machine.mesh.renew();
    expect(issuerOf(machine)).not.toBe(old);
  }

  // The first knows only the old root, the second has a token that names it.
  const [back, four] = await Promise.all([machines.start('away', { port: away.port }), machines.joined(one, 'four')]);
  await vi.waitFor(
    () => expect([...states(back), ...states(four)]).toEqual(['signs', 'trusted', 'signs', 'trusted']),
    PATIENCE,
  );
  expect([issuerOf(back) === old, issuerOf(four) === old]).toEqual([true, false]);
  await vi.waitFor(() => expect(back.mesh.renew()).resolves.toBeUndefined(), PATIENCE);
  await vi.waitFor(() => expect(named(second.mesh.ca().roots[1]?.leaves ?? [])).toEqual(['alice', 'lost']), PATIENCE);

  // What is in use holds it up, by name, until it is cut off.
  second.mesh.revokeCertificate(details.serial, CALLER);
  const before = second.mesh.ca().roots[1]?.fingerprint ?? '';
  await expect(second.mesh.retireRoot(before, { force: false }, CALLER)).rejects.toThrow('the certificates of lost');
  const { cutOff } = await second.mesh.retireRoot(before.slice(0, 8), { force: true }, CALLER);
  expect(named(cutOff)).toEqual(['lost']);
  const there = [one, second, back, four];
  await vi.waitFor(() => {
    for (const machine of there) {
      expect([machine.name, ...states(machine)]).toEqual([machine.name, 'signs', 'retired']);
      expect(machine.material.at(-1)?.revocations.has(details.serial)).toBe(true);
    }
  }, PATIENCE);
  const retiredMs = second.mesh.ca().roots[1]?.retiredMs ?? Number.POSITIVE_INFINITY;
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(retiredMs + 100), PATIENCE);
  const late = await machines.start('lost', { port: lost.port });
  await vi.waitFor(() => {
    expect(late.mesh.conditions()).toMatchObject([{ type: 'MeshRoots', reason: 'CertificateRetired', status: false }]);
    expect(there.map(({ log }) => log.join('\n')).join('\n')).toContain('signed by a root that the mesh retired at');
    expect(late.log.join('\n')).toContain('this node is not believed by others any more');
  }, PATIENCE);
  const others = there.map(({ mesh }) => mesh.conditions().filter(({ type }) => type.startsWith('Mesh')));
  expect(others).toEqual([[], [], [], []]);
  // What was let in by the new root is one of the mesh: it changes what all have.
  four.mesh.remove('lost', { keepKeys: true }, CALLER);
  await vi.waitFor(() => expect(back.mesh.members().map(({ name }) => name)).not.toContain('lost'), PATIENCE);
});
