// SPDX-License-Identifier: Apache-2.0
/** Agents as a mesh with all that it has of adapters: TLS, gossip and SQLite, on loopback. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAgentClient } from '@marcher/client';
import { createCertificateRequest } from '@marcher/client/certificate-request';
import { parseConfiguration } from '@marcher/model';
import { lan, type Tuning } from '@marcher/swim';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { cheapAccounts } from './adapters/outbound/access/testing/memory-mesh.js';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import type { MeshTlsMaterial } from './adapters/outbound/identity/mesh-tls.js';
import { frameHash } from './adapters/outbound/mesh/frame-keys.js';
import { freePortPair } from './adapters/outbound/mesh/testing/free-ports.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, createAgent } from './agent.js';
import { Audit } from './application/audit/audit.js';
import { Mesh } from './mesh.js';
import { IdentityFiles } from './mesh-identity.js';
import type { CertificateUseCases } from './ports/certificates.js';
import { IdentityError } from './ports/identity.js';
import type { Caller } from './ports/use-cases.js';

/** What is said of members goes out at once: most of what it takes to stop a node is waiting for that. */
const quick: Tuning = { ...lan, gossipIntervalMs: 20 };
const CALLER: Caller = { author: 'ada', origin: 'api' };
const PATIENCE = 15_000;

interface Machine {
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly opened: OpenedStore;
  readonly dataplane: InMemoryDataplane;
  readonly agent: Agent;
  readonly mesh: Mesh;
  readonly audit: Audit;
  /** At a Unix socket, where it is started. */
  readonly api: ApiServer;
  /** What it shows to operators elsewhere, and whom it believes, in turn. */
  readonly material: MeshTlsMaterial[];
  readonly log: string[];
  stop(): Promise<void>;
}

let root: string;
let machines: Machine[] = [];

interface MachineOptions {
  readonly port?: number;
  readonly contact?: number;
  readonly dataplane?: InMemoryDataplane;
}

async function start(name: string, options: MachineOptions = {}): Promise<Machine> {
  const dir = join(root, name);
  const { port = await freePortPair(), contact, dataplane = new InMemoryDataplane() } = options;
  const opened = openStore(dir, 0);
  const log: string[] = [];
  const say = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields, hidden)}`);
  const logger = { debug: say, info: say, warn: say, error: say };
  const contactOf = { host: '127.0.0.1', port: contact ?? 0, tokenFile: join(root, `${name}.token`) };
  const auditLog = opened.store.openAudit();
  const known = () => mesh.auditHeads;
  const audit = new Audit({ log: auditLog, nodeName: name, hash: frameHash, nowMs: Date.now, known, logger });
  const mesh = new Mesh({
    settings: {
      address: { host: '127.0.0.1', port },
      join: contact === undefined ? undefined : contactOf,
      caKeyFile: join(dir, 'ca.key'),
      certificatesDir: join(dir, 'certificates'),
    },
    stateDir: dir,
    nodeName: name,
    store: opened.store,
    gossipTuning: quick,
    keepKeysMs: 100,
    follow: (project) => agent.config.follow(project),
    exclusively: (work) => agent.config.exclusively(work),
    observe: () => agent.observed(),
    backends: () => agent.config.inventory.backends,
    onMaterial: (now) => void material.push(now),
    answer: (request, response, caller) => api.handle(request, response, caller),
    log: logger,
    audit: { log: auditLog, trail: audit },
  });
  const material: MeshTlsMaterial[] = [];
  await mesh.load();
  const agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name, region: '', country: '', geoipPath: '' },
    version: 'test',
    log: logger,
    reconcileMs: 50,
    collectMs: 3_600_000,
    replicated: () => mesh.replicated,
    audit,
  });
  await agent.start();
  const api = createApiServer({
    useCases: { ...agent, mesh, audit },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger,
    socketPath: join(dir, 'api.sock'),
    relay: mesh.relay,
    limits: { stopMs: 200 },
  });
  await mesh.start();
  const machine: Machine = {
    name,
    dir,
    port,
    opened,
    dataplane,
    agent,
    mesh,
    audit,
    api,
    material,
    log,
    stop: async () => {
      machines = machines.filter((other) => other !== machine);
      await api.stop();
      await mesh.stop();
      await agent.stop();
      audit.stop();
      opened.close();
    },
  };
  machines.push(machine);
  return machine;
}

const hidden = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

function giveToken(from: Machine, name: string): string {
  const { text } = from.mesh.createToken({ role: 'member', lifetimeMs: 600_000 }, CALLER);
  writeFileSync(join(root, `${name}.token`), `${text}\n`);
  return text;
}

async function founded(): Promise<Machine> {
  const first = await start('one');
  await first.mesh.init('edge', CALLER);
  return first;
}

async function joined(first: Machine, name: string): Promise<Machine> {
  giveToken(first, name);
  const machine = await start(name, { contact: first.port });
  await vi.waitFor(() => expect(machine.mesh.status().admitted).toBe(true), PATIENCE);
  return machine;
}

function apply(machine: Machine, ...services: readonly object[]) {
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services }));
  if (parsed.configuration === undefined) throw new Error(JSON.stringify(parsed));
  const change = { upsert: parsed.configuration.services, remove: [], replaceAll: false };
  return machine.agent.config.apply(change, { expectedVersion: 0n, message: '', omitDiff: true }, CALLER);
}

const service = (name: string, port: number): object => ({
  name,
  listeners: [{ protocol: 'tcp', port }],
  backends: [{ name: 'b1', address: '192.0.2.1:80' }],
});

/** What was audited there, the oldest first: outcome and method. */
function audited({ audit }: Machine): string[] {
  const { records } = audit.list({ before: 0, limit: 1_000 });
  return records.toReversed().map(({ outcome, action }) => `${outcome} ${action.split('/').at(-1)}`);
}

async function agreed(names: readonly string[], among: readonly Machine[] = machines): Promise<void> {
  await vi.waitFor(() => {
    for (const { name, dataplane } of among)
      expect([name, ...[...dataplane.services.keys()].sort()]).toEqual([name, ...names]);
    expect(new Set(among.map(({ mesh }) => mesh.status().configHash)).size).toBe(1);
  }, PATIENCE);
}

const alive = ({ mesh }: Machine): string[] =>
  mesh.members().flatMap(({ name, state }) => (state === 'alive' || state === 'self' ? [name] : []));

async function together(among: readonly Machine[] = machines): Promise<void> {
  const names = among.map(({ name }) => name).sort();
  await vi.waitFor(() => {
    for (const machine of among) expect([machine.name, ...alive(machine)]).toEqual([machine.name, ...names]);
  }, PATIENCE);
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'marcher-mesh-'));
});

afterEach(async () => {
  await Promise.all(machines.map((machine) => machine.stop()));
  rmSync(root, { recursive: true, force: true });
});

test('a mesh is made, joined and changed from any node; who comes back has what was missed', {
  timeout: 60_000,
}, async () => {
  const first = await start('one');
  await apply(first, service('old', 8000));
  expect(first.mesh.status().meshId).toBe('');
  await first.mesh.init('edge', CALLER);
  const [second, third] = [await joined(first, 'two'), await joined(first, 'three')];
  await together();
  await apply(second, service('web', 8001));
  await apply(third, service('api', 8002));
  await agreed(['api', 'old', 'web']);
  const tokensAndJoins = Array(2).fill(['done CreateJoinToken', 'done Join']).flat();
  expect(audited(first)).toEqual(['done Apply', 'done InitMesh', ...tokensAndJoins]);
  expect([second, third].map(audited)).toEqual([['done Apply'], ['done Apply']]);
  await vi.waitFor(async () => {
    const verdict = await first.audit.verify(new AbortController().signal);
    expect([verdict.node, verdict.headsChecked, verdict.findings]).toEqual([first.mesh.status().nodeId, 1, []]);
    expect(second.opened.store.openAudit().heads(verdict.node)).toHaveLength(1);
  }, PATIENCE);
  const { dataplane, port } = third;
  await third.stop();
  await apply(first, service('late', 8003));
  await agreed(['api', 'late', 'old', 'web']);
  expect([...dataplane.services.keys()]).not.toContain('late');
  await start('three', { port, dataplane });
  await agreed(['api', 'late', 'old', 'web']);
  // Nothing but its identity: what it had is with the others.
  await second.stop();
  for (const end of ['', '-wal', '-shm']) rmSync(join(second.dir, `marcher.db${end}`), { force: true });
  await start('two', { port: second.port, dataplane: second.dataplane });
  await agreed(['api', 'late', 'old', 'web']);
  await apply(machines[2] as Machine, service('last', 8004));
  await agreed(['api', 'last', 'late', 'old', 'web']);
  await vi.waitFor(() => {
    for (const { mesh } of machines) {
      for (const { said } of mesh.members())
        expect(said).toMatchObject({ version: { agent: 'test' }, health: { ready: true } });
    }
  }, PATIENCE);
});

test("an operator's certificate is signed where the CA's key is, known everywhere, and revoked from anywhere", {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const second = await joined(first, 'two');
  const { request, privateKeyPem } = await createCertificateRequest();
  const asked = { user: 'alice', request, lifetimeMs: 3_600_000 };
  await expect(second.mesh.issueCertificate(asked, CALLER)).rejects.toThrow(
    "this node does not hold the key of the mesh's CA; these do: one",
  );
  const other = { ...asked, request: request.subarray(1) };
  await expect(first.mesh.issueCertificate(other, CALLER)).rejects.toMatchObject({ code: 'invalid' });
  const { pem, roots, details } = await first.mesh.issueCertificate(asked, CALLER);
  const leaf = new X509Certificate(pem);
  expect(leaf.checkPrivateKey(createPrivateKey(privateKeyPem))).toBe(true);
  expect(leaf.subjectAltName).toBe(`URI:spiffe://${first.mesh.status().meshId}/user/alice`);
  expect(roots).toBe(second.mesh.roots());
  await vi.waitFor(() => expect(second.mesh.certificates()).toEqual([details]), PATIENCE);
  const refuses = (machine: Machine): boolean => machine.material.at(-1)?.revocations.has(details.serial) === true;
  expect([refuses(first), refuses(second)]).toEqual([false, false]);

  second.mesh.revokeCertificate(details.serial, CALLER);
  expect(refuses(second)).toBe(true);
  expect(() => second.mesh.revokeCertificate('77', CALLER)).toThrow('there is no client certificate 77');
  await vi.waitFor(() => expect(refuses(first)).toBe(true), PATIENCE);
  // In the list that the first has signed, which goes to those that join.
  const lists = join(second.dir, 'identity', 'revocations');
  await vi.waitFor(() => expect(readFileSync(lists, 'utf8')).toContain('BEGIN X509 CRL'), PATIENCE);
});

test('the first node goes, all others stay a mesh, and it comes back with its identity', {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const [second, third] = [await joined(first, 'two'), await joined(first, 'three')];
  await together();
  const { port, dataplane } = first;
  await first.stop();
  await apply(second, service('web', 8001));
  await agreed(['web'], [second, third]);
  const again = await start('one', { port, dataplane });
  expect(again.mesh.status().signs).toBe(true);
  await agreed(['web']);
  await together();
});

test('a token is good for one machine; secrets are in no log, and in no file that others may read', {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const token = giveToken(first, 'two');
  const second = await start('two', { contact: first.port });
  await vi.waitFor(() => expect(second.mesh.status().admitted).toBe(true), PATIENCE);
  writeFileSync(join(root, 'three.token'), token);
  const third = await start('three', { contact: first.port });
  await vi.waitFor(
    () => expect(third.mesh.conditions()).toMatchObject([{ type: 'MeshJoined', status: false }]),
    PATIENCE,
  );
  expect(third.mesh.conditions()[0]?.message).toContain('used');
  expect(third.mesh.status().meshId).toBe('');
  first.audit.stop();
  expect(audited(first).at(-1)).toBe('denied Join');
  const said = JSON.stringify(first.audit.list({ before: 0, limit: 100 }).records, hidden);
  expect(said).toContain('"source":"127.0.0.1"');
  expect(said).not.toContain(token.slice(12));
  const key = readFileSync(join(first.dir, 'identity', 'gossip'), 'utf8').match(/"keys":\["([^"]+)"/)?.[1] ?? '';
  expect(key.length).toBeGreaterThan(40);
  for (const { log } of machines) {
    expect(log.length).toBeGreaterThan(0);
    for (const line of log) for (const secret of [token, key, 'PRIVATE']) expect(line).not.toContain(secret);
  }
  for (const file of ['identity', 'ca.key']) expect(statSync(join(first.dir, file)).mode & 0o077).toBe(0);
});

test('one node is asked for every other: read, drained and watched through it, until a member is removed', {
  timeout: 60_000,
}, async () => {
  const one = await founded();
  const [two, three] = [await joined(one, 'two'), await joined(one, 'three')];
  await one.api.start();
  const client = createAgentClient({ kind: 'unix', path: join(one.dir, 'api.sock') });
  onTestFinished(() => client.close());
  const [there, last] = [two, three].map(({ mesh }) => client.throughNode(mesh.status().nodeId));
  if (there === undefined || last === undefined) throw new Error('expected three nodes');
  expect((await there.node.status({})).nodeName).toBe('two');
  await there.node.drain({});
  expect([one, two, three].map(({ agent }) => agent.node.status().draining)).toEqual([false, true, false]);
  expect((await there.audit.listAuditRecords({})).records[0]).toMatchObject({
    actor: 'root (uid 0) via one',
    via: 'socket',
    source: '127.0.0.1',
    action: 'marcher.v1.NodeService/Drain',
  });
  expect(audited(one)).not.toContain('done Drain');
  await expect(there.config.apply({ change: {} })).rejects.toMatchObject({ code: 'refused' });
  const names: string[] = [];
  for await (const { node, status, synced } of there.observe.observe({ intervalMs: 100 })) {
    if (node !== undefined) names.push(node.name);
    if (synced) expect(status?.draining).toBe(true);
    if (synced) break;
  }
  expect(names).toEqual(['two']);
  // Three is told of it, and has two seconds before it is cut off from the mesh; calls end at once.
  const synced: string[] = [];
  const watching = (async () => {
    for await (const { event } of last.config.watch({})) {
      synced.push(event.case ?? '');
      if (event.case === 'synced') await one.mesh.remove('three', { keepKeys: false }, CALLER);
    }
  })();
  await expect(watching).rejects.toMatchObject({ code: 'unavailable' });
  expect(synced).toEqual(['synced']);
  await expect(last.node.status({})).rejects.toMatchObject({ code: 'not_found' });
  expect((await there.node.status({})).nodeName).toBe('two');
});

test('users, keys and sessions of one node are those of every other, and end everywhere', {
  timeout: 30_000,
}, async () => {
  const one = await founded();
  const two = await joined(one, 'two');
  const [here, there] = [one, two].map(({ mesh }) => cheapAccounts(() => mesh.access, Date.now));
  if (here === undefined || there === undefined) throw new Error('expected two nodes');
  const [password, scope] = ['four words, or rather five', { clusters: ['eu'], services: [] }];
  await here.createUser({ name: 'alice', role: 'owner', scope, password }, CALLER);
  const { text, key } = here.createKey({ name: 'ci', role: 'owner', scope, lifetimeMs: 3_600_000 }, CALLER);
  await vi.waitFor(() => expect([there.users().length, there.keys().length]).toEqual([1, 1]), PATIENCE);
  const granted = await there.login({ name: 'alice', password, code: '' }, '192.0.2.9');
  if (!('token' in granted)) throw new Error(granted.reason);
  // Signed by the one, known to the other by its certificate.
  const alice = await here.bearer(granted.token, '192.0.2.9');
  expect(alice).toMatchObject({ name: 'user:alice', via: 'session', role: 'owner', scope });
  expect(await there.bearer(text, '192.0.2.9')).toMatchObject({ name: 'key:ci', via: 'api-key' });
  here.revokeSessions('alice', CALLER);
  there.revokeKey(key.id, CALLER);
  await vi.waitFor(async () => {
    expect(await there.bearer(granted.token, '192.0.2.9')).toHaveProperty('reason');
    expect(await here.bearer(text, '192.0.2.9')).toHaveProperty('reason');
  }, PATIENCE);
  // What the mesh has of this kind is no configuration.
  expect(one.agent.config.version).toBe(0n);
  expect(one.log.join() + two.log.join()).not.toMatch(/four words|mk_[0-9a-f]{16}_/);
});

test('a machine with a configuration of its own does not join, and says what to do', { timeout: 30_000 }, async () => {
  const first = await founded();
  const alone = await start('two');
  await apply(alone, service('mine', 8001));
  const { port, dataplane } = alone;
  await alone.stop();
  giveToken(first, 'two');
  const second = await start('two', { port, dataplane, contact: first.port });
  await vi.waitFor(() => expect(second.mesh.conditions()[0]?.message).toContain('configuration of its own'), PATIENCE);
  expect([...dataplane.services.keys()]).toEqual(['mine']);
  expect(first.mesh.tokens()).toMatchObject([{ role: 'member' }]);
  expect(first.mesh.tokens()[0]).not.toHaveProperty('usedBy');
});

test('a machine that could not listen joins when it can, by the identity that it was given', {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  giveToken(first, 'two');
  const port = await freePortPair();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(port + 1, '127.0.0.1', resolve));
  const second = await start('two', { port, contact: first.port });
  await vi.waitFor(() => expect(second.mesh.conditions()[0]?.message).toContain("gossip can't start"), PATIENCE);
  await new Promise((resolve) => other.close(resolve));
  await vi.waitFor(() => expect(second.mesh.status().admitted).toBe(true), PATIENCE);
  await together();
  expect(first.mesh.tokens()).toHaveLength(1);
});

test('certificates are renewed for a new key, and the mesh goes on by them', { timeout: 60_000 }, async () => {
  const first = await founded();
  const second = await joined(first, 'two');
  await together();
  const shown = (machine: Machine): string => readFileSync(join(machine.dir, 'identity', 'node'), 'utf8');
  for (const machine of [first, second]) {
    const before = shown(machine);
    await machine.mesh.renew();
    expect(shown(machine)).not.toBe(before);
  }
  await apply(second, service('web', 8001));
  await agreed(['web']);
  // With nothing but the new one.
  const { port, dataplane } = second;
  await second.stop();
  await apply(first, service('api', 8002));
  const again = await start('two', { port, dataplane });
  await agreed(['api', 'web']);
  await apply(again, service('late', 8003));
  await agreed(['api', 'late', 'web']);
  expect(machines.flatMap(({ log }) => log.filter((line) => line.includes('is not believed')))).toEqual([]);
  await first.stop();
  await vi.waitFor(
    async () => expect(await again.mesh.renew().catch(String)).toContain('no node that signs is alive'),
    PATIENCE,
  );
});

test('a second node that signs lets others in and renews when the first is gone', { timeout: 60_000 }, async () => {
  const first = await founded();
  const { text } = first.mesh.createToken({ role: 'authority', lifetimeMs: 600_000 }, CALLER);
  writeFileSync(join(root, 'two.token'), text, { mode: 0o600 });
  mkdirSync(join(root, 'two'), { mode: 0o700 });
  copyFileSync(join(first.dir, 'ca.key'), join(root, 'two', 'ca.key'));
  const second = await start('two', { contact: first.port });
  await vi.waitFor(() => expect(second.mesh.status()).toMatchObject({ admitted: true, signs: true }), PATIENCE);
  await together();
  await first.stop();
  const third = await joined(second, 'three');
  await together([second, third]);
  await third.mesh.renew();
  await apply(third, service('web', 8001));
  await agreed(['web'], [second, third]);
  // Sealed by another key than this one's, it is of no use, and that is said.
  const { text: other } = second.mesh.createToken({ role: 'authority', lifetimeMs: 600_000 }, CALLER);
  writeFileSync(join(root, 'four.token'), other);
  const fourth = await start('four', { contact: second.port });
  await vi.waitFor(() => expect(fourth.mesh.status()).toMatchObject({ admitted: true, signs: false }), PATIENCE);
  expect(fourth.mesh.conditions()).toMatchObject([{ type: 'MeshAuthority', reason: 'NotOpened' }]);
});

test('a removed node gets and gives nothing more, and says so', { timeout: 60_000 }, async () => {
  const first = await founded();
  const [second, third] = [await joined(first, 'two'), await joined(first, 'three')];
  await together();
  await apply(third, service('before', 8000));
  await agreed(['before']);
  // What can't be written is said, and ends nothing.
  rmSync(join(second.dir, 'identity', 'revocations'));
  mkdirSync(join(second.dir, 'identity', 'revocations'));
  await second.mesh.remove('three', { keepKeys: false }, CALLER);
  expect(audited(second)).toEqual(['done RemoveMember']);
  await vi.waitFor(() => expect(third.mesh.conditions().map(({ reason }) => reason)).toContain('Removed'), PATIENCE);
  await together([first, second]);
  // It was given time to hear of it.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await apply(first, service('after', 8001));
  await agreed(['after', 'before'], [first, second]);
  await expect(apply(third, service('forged', 8002))).rejects.toThrow('was removed from its mesh');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect([...first.dataplane.services.keys()].sort()).toEqual(['after', 'before']);
  expect([...third.dataplane.services.keys()]).not.toContain('after');
  expect(second.log.join()).toContain('the revocation lists could not be written');
  // Gossip has another key, which it does not get.
  expect(first.mesh.keys()).toMatchObject({ state: 'done', keys: [{ primaryOf: ['one', 'two'] }] });
  expect(secretsOf(first)).toEqual(secretsOf(second));
  expect(secretsOf(third)).toHaveLength(1);
  expect(secretsOf(third)).not.toEqual(secretsOf(first));
  // It can't come back by its old certificate.
  const { port, dataplane } = third;
  await third.stop();
  await start('three', { port, dataplane });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect([...first.dataplane.services.keys()].sort()).toEqual(['after', 'before']);
  expect(alive(first)).toEqual(['one', 'two']);
});

test('a node leaves, also when it is killed meanwhile: it is revoked, serves on alone, and comes back by another token', {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const second = await joined(first, 'two');
  await together();
  await apply(first, service('web', 8001));
  await agreed(['web']);
  await expect(first.mesh.leave({ force: false }, CALLER)).rejects.toThrow('the only one that holds the key');
  const before = second.mesh.status();
  vi.spyOn(IdentityFiles.prototype, 'setAside').mockImplementationOnce(() => {
    throw new IdentityError('io', 'the disk is full');
  });
  await expect(second.mesh.leave({ force: false }, CALLER)).rejects.toThrow('start the agent again to finish');
  const { port, dataplane } = second;
  await second.stop();
  const alone = await start('two', { port, dataplane });
  await vi.waitFor(() => expect(alone.mesh.status()).toEqual({ ...nowhere, configHash: before.configHash }), PATIENCE);
  expect(alone.mesh.conditions()).toEqual([]);
  const kept = join(alone.dir, readdirSync(alone.dir).find((name) => name.startsWith('identity-left-')) ?? '');
  expect(statSync(kept).mode & 0o077).toBe(0);
  expect(readFileSync(join(kept, 'node'), 'utf8')).toContain('PRIVATE KEY');
  await vi.waitFor(() => {
    const states = first.mesh.members().map(({ name, state }) => [name, state]);
    expect(states).toEqual([
      ['one', 'self'],
      ['two', 'departed'],
    ]);
    expect(readFileSync(join(first.dir, 'identity', 'revocations'), 'utf8')).toContain('BEGIN X509 CRL');
  }, PATIENCE);
  await apply(alone, service('mine', 8002));
  await apply(first, service('late', 8003));
  expect([...alone.dataplane.services.keys()].sort()).toEqual(['mine', 'web']);
  expect([...first.dataplane.services.keys()].sort()).toEqual(['late', 'web']);
  // Of another mesh it is the first, without a restart and without anything of the old one.
  await alone.mesh.init('other', CALLER);
  expect(alone.mesh.members().map(({ name }) => name)).toEqual(['two']);
  expect(await alone.mesh.leave({ force: false }, CALLER)).toMatchObject({ meshName: 'other', told: true });
  const nothing = { upsert: [], remove: ['mine', 'web'], replaceAll: false };
  await alone.agent.config.apply(nothing, { expectedVersion: 0n, message: '', omitDiff: true }, CALLER);
  await alone.stop();
  giveToken(first, 'two');
  const again = await start('two', { port, dataplane, contact: first.port });
  await vi.waitFor(() => expect(again.mesh.status().admitted).toBe(true), PATIENCE);
  await agreed(['late', 'web']);
  expect(again.mesh.status().nodeId).not.toBe(before.nodeId);
  expect(first.mesh.members().map(({ name }) => name)).toEqual(['one', 'two']);
  // Now while it runs.
  expect(await again.mesh.leave({ force: false }, CALLER)).toMatchObject({ meshName: 'edge', told: true });
  expect(audited(again).at(-1)).toBe('done LeaveMesh');
});

const nowhere = { meshId: '', meshName: '', nodeId: '', admitted: false, signs: false, clusters: [] };

/** As they are on disk. */
function secretsOf({ dir }: Machine): string[] {
  const [, json = ''] = readFileSync(join(dir, 'identity', 'gossip'), 'utf8').split('\n');
  return (JSON.parse(json) as { keys: string[] }).keys;
}

const keyIds = ({ mesh }: Machine): string[] => mesh.keys().keys.map(({ id }) => id);

test("gossip's key is changed at all that are there, by two at once too; who was away gets it when it comes back", {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const [second, third] = [await joined(first, 'two'), await joined(first, 'three')];
  await together();
  const [before] = keyIds(first);
  const { port, dataplane } = third;
  // What it has said is known of it while it is away.
  await vi.waitFor(() => {
    expect(first.mesh.keys().keys.find(({ id }) => id === before)?.heldBy).toContain('three');
  }, PATIENCE);
  await third.stop();
  await vi.waitFor(() => expect(alive(first)).toEqual(['one', 'two']), PATIENCE);
  const [one, two] = await Promise.all([first.mesh.rotateKey(CALLER), second.mesh.rotateKey(CALLER)]);
  await vi.waitFor(() => {
    expect(first.mesh.keys()).toMatchObject({ state: 'done', waitingFor: [] });
    for (const machine of [first, second]) expect([one, two]).toContain(keyIds(machine)[0]);
    expect(first.mesh.keys().keys[0]?.primaryOf).toEqual(['one', 'two']);
    expect(first.mesh.keys().keys[0]).toEqual({ ...second.mesh.keys().keys[0] });
    expect(first.mesh.keys().keys.find(({ id }) => id === before)?.heldBy).toEqual(['three']);
  }, PATIENCE);
  await together([first, second]);
  expect(audited(second).at(-1)).toBe('done RotateGossipKey');
  const again = await start('three', { port, dataplane });
  await together();
  await vi.waitFor(() => {
    for (const machine of machines)
      expect([...keyIds(machine), machine.mesh.keys().state]).toEqual([keyIds(first)[0], 'done']);
  }, PATIENCE);
  const [secret = ''] = secretsOf(again);
  expect(secret.length).toBeGreaterThan(40);
  for (const { log, dir } of [first, second, third, again]) {
    expect(log.join()).not.toContain(secret);
    const stored = Buffer.concat(['marcher.db', 'marcher.db-wal'].map((file) => readFileSync(join(dir, file))));
    expect(stored.includes(Buffer.from(secret, 'base64'))).toBe(false);
  }
});

test("a service's certificate is issued where the CA's key is and opened by all members, by one that joins and by none that left", {
  timeout: 60_000,
}, async () => {
  const first = await founded();
  const second = await joined(first, 'two');
  await together();
  const of = ({ mesh }: Machine) => mesh.serviceCertificates as CertificateUseCases;
  const names = { dns: ['api.example.org'], addresses: [] };
  const request = (name: string) => ({ name, names, roles: ['server'], days: 365 }) as const;
  await expect(of(second).issue(request('api'), CALLER)).rejects.toThrow('these do: one');
  await of(first).issue(request('api'), CALLER);
  const opened = (machine: Machine, name: string): boolean | undefined =>
    of(machine)
      .list()
      .find((each) => each.name === name)?.keyAvailable;
  await vi.waitFor(() => expect(opened(second, 'api')).toBe(true), PATIENCE);
  const third = await joined(first, 'three');
  await vi.waitFor(() => expect(opened(third, 'api')).toBe(true), PATIENCE);
  const { key, chain } = of(third).exportKey('api', CALLER);
  expect(key).toBe(of(first).exportKey('api', CALLER).key);
  expect(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(audited(third)).toEqual(['done ExportPrivateKey']);
  // For programs on the second's machine: what is there, and is not.
  const [pem, secret] = ['pem', 'key'].map((end) => join(second.dir, 'certificates', `api.${end}`));
  await vi.waitFor(() => expect(readFileSync(pem ?? '', 'utf8')).toBe(chain), PATIENCE);
  expect([statSync(secret ?? '').mode & 0o777, readFileSync(secret ?? '', 'utf8')]).toEqual([0o600, key]);
  // Revoked from anywhere, into the lists of the node that signs.
  const { serial } = of(second).revoke('api', 1, CALLER).facts.leaf;
  await vi.waitFor(() => {
    for (const machine of machines) expect(machine.material.at(-1)?.revocations.get(serial)?.reason).toBe(1);
    expect(existsSync(secret ?? '')).toBe(false);
  }, PATIENCE);
  await first.mesh.remove('three', { keepKeys: true }, CALLER);
  await of(first).issue(request('web'), CALLER);
  await vi.waitFor(() => expect(opened(second, 'web')).toBe(true), PATIENCE);
  // It is told of its removal for two seconds more, and may hear of the certificate meanwhile.
  expect(opened(third, 'web') ?? false).toBe(false);
  const der = createPrivateKey(key).export({ format: 'der', type: 'pkcs8' }).subarray(-96);
  for (const { log, dir } of machines) {
    expect(log.join()).not.toContain('PRIVATE KEY');
    const stored = Buffer.concat(['marcher.db', 'marcher.db-wal'].map((file) => readFileSync(join(dir, file))));
    expect(stored.includes(der)).toBe(false);
  }
});
