// SPDX-License-Identifier: Apache-2.0
/** The mesh's CA is changed under nodes that are there, away, and joining: over TLS, gossip and SQLite, on loopback. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCertificateRequest } from '@marcher/client/certificate-request';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readCertificate } from './adapters/outbound/identity/certificate-facts.js';
import type { MeshTlsMaterial } from './adapters/outbound/identity/mesh-tls.js';
import { freePortPair } from './adapters/outbound/mesh/testing/free-ports.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import type { NodeRole } from './domain/identity/join-token.js';
import { Mesh } from './mesh.js';
import type { MeshLeafView, MeshRootView } from './ports/mesh.js';
import type { Caller } from './ports/use-cases.js';

const CALLER: Caller = { author: 'ada', origin: 'api' };
const PATIENCE = { timeout: 20_000, interval: 20 };
const DAY_MS = 86_400_000;

interface Machine {
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly opened: OpenedStore;
  readonly mesh: Mesh;
  /** What it shows to operators elsewhere, and whom it believes, in turn. */
  readonly material: MeshTlsMaterial[];
  readonly log: string[];
  stop(): Promise<void>;
}

let root: string;
let machines: Machine[] = [];

const hidden = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

async function start(
  name: string,
  given: { readonly port?: number; readonly contact?: number } = {},
): Promise<Machine> {
  const dir = join(root, name);
  const { port = await freePortPair(), contact } = given;
  const opened = openStore(dir, 0);
  const log: string[] = [];
  const say = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields, hidden)}`);
  const material: MeshTlsMaterial[] = [];
  const mesh = new Mesh({
    settings: {
      address: { host: '127.0.0.1', port },
      join:
        contact === undefined
          ? undefined
          : { host: '127.0.0.1', port: contact, tokenFile: join(root, `${name}.token`) },
      caKeyFile: join(dir, 'ca.key'),
    },
    stateDir: dir,
    nodeName: name,
    store: opened.store,
    keepKeysMs: 100,
    settleRootsMs: 0,
    follow: async () => undefined,
    exclusively: (work) => work(),
    observe: () => Promise.reject(new Error('there is nothing to be said')),
    backends: () => 0,
    onMaterial: (now) => void material.push(now),
    log: { debug: say, info: say, warn: say, error: say },
  });
  await mesh.load();
  await mesh.start();
  const stop = async (): Promise<void> => {
    machines = machines.filter((other) => other !== machine);
    await mesh.stop();
    opened.close();
  };
  const machine: Machine = { name, dir, port, opened, mesh, material, log, stop };
  machines.push(machine);
  return machine;
}

function giveToken(from: Machine, name: string, role: NodeRole = 'member'): void {
  const { text } = from.mesh.createToken({ role, lifetimeMs: 600_000 }, CALLER);
  writeFileSync(join(root, `${name}.token`), `${text}\n`);
}

async function joined(first: Machine, name: string): Promise<Machine> {
  const machine = await start(name, { contact: first.port });
  await vi.waitFor(() => expect([name, machine.mesh.status().admitted]).toEqual([name, true]), PATIENCE);
  return machine;
}

const states = ({ mesh }: Machine): string[] => mesh.ca().roots.map(({ state }) => state);
const newest = ({ mesh }: Machine): MeshRootView => mesh.ca().roots[0] as MeshRootView;
const named = (leaves: readonly MeshLeafView[]): string[] => leaves.map(({ name }) => name).sort();

/** Key id of the root that has signed what it shows. */
function issuer({ dir }: Machine): string {
  const text = readFileSync(join(dir, 'identity', 'node'), 'utf8');
  return readCertificate(text.slice(text.indexOf('-----BEGIN CERTIFICATE'))).issuerKeyId;
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'marcher-mesh-ca-'));
});

afterEach(async () => {
  await Promise.all(machines.map((machine) => machine.stop()));
  rmSync(root, { recursive: true, force: true });
});

test('a new root takes over; who was away comes to trust it, and who is left behind is told', {
  timeout: 60_000,
}, async () => {
  const one = await start('one');
  await one.mesh.init('edge', CALLER);
  giveToken(one, 'two', 'authority');
  mkdirSync(join(root, 'two'), { mode: 0o700 });
  copyFileSync(join(one.dir, 'ca.key'), join(root, 'two', 'ca.key'));
  const two = await joined(one, 'two');
  giveToken(one, 'away');
  giveToken(one, 'lost');
  const away = await joined(one, 'away');
  const lost = await joined(one, 'lost');
  giveToken(one, 'four');
  const { request } = await createCertificateRequest();
  const { details } = await one.mesh.issueCertificate({ user: 'alice', request, lifetimeMs: DAY_MS }, CALLER);
  await expect(lost.mesh.rotateCa({ overlapMs: DAY_MS, now: true }, CALLER)).rejects.toThrow('these do: one, two');
  await vi.waitFor(() => expect(two.mesh.members()).toHaveLength(4), PATIENCE);
  await Promise.all([away.stop(), lost.stop()]);
  const old = issuer(one);

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
  const second = await start('two', { port: two.port });
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
    expect(issuer(machine)).not.toBe(old);
  }

  // The first knows only the old root, the second has a token that names it.
  const [back, four] = await Promise.all([start('away', { port: away.port }), joined(one, 'four')]);
  await vi.waitFor(
    () => expect([...states(back), ...states(four)]).toEqual(['signs', 'trusted', 'signs', 'trusted']),
    PATIENCE,
  );
  expect([issuer(back) === old, issuer(four) === old]).toEqual([true, false]);
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
  const late = await start('lost', { port: lost.port });
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
