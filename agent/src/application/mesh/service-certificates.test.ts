// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { certificateTools } from '../../adapters/outbound/identity/certificate-chain.js';
import { createSecretBox } from '../../adapters/outbound/identity/secret-box.js';
import { type TestCertificate, testChain } from '../../adapters/outbound/identity/testing/chain.js';
import { rootOf, testAuthority } from '../../adapters/outbound/identity/testing/mesh.js';
import { NO_REVOCATIONS } from '../../domain/identity/revocation.js';
import { SERVICE_CERTIFICATE_KIND, TURN_MS } from '../../domain/mesh/service-certificate.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { Replica } from '../../domain/replication/replica.js';
import type { CertificateAuthority } from '../../ports/identity.js';
import type { Caller } from '../../ports/use-cases.js';
import { type CertificateChange, ServiceCertificates } from './service-certificates.js';

const NOW = Date.now();
const DAY = 86_400_000;
const ADA: Caller = { author: 'ada', origin: 'api' };
const NODE: Caller = { author: 'north', origin: 'api' };
const NAMES = { dns: ['api.example.org'], addresses: ['10.0.0.1'] };
const REQUEST = { name: 'api', names: NAMES, roles: ['server'], days: 365 } as const;
const SELF = '00000000000000b2';
const KEY_ID = 'ab'.repeat(8);

let authority: CertificateAuthority;
let chain: string;
let leaf: TestCertificate;

beforeAll(async () => {
  authority = await testAuthority(NOW);
  const made = await testChain();
  leaf = made.leaf;
  chain = leaf.pem + made.middle.pem + made.root.pem;
});

class Node {
  nowMs = NOW;
  signs = true;
  readonly changes: CertificateChange[] = [];
  readonly told: Omit<CertificateChange, 'writes'>[] = [];
  readonly certificates: ServiceCertificates;
  readonly cells = new MemoryStore();
  readonly #replica: Replica;

  constructor() {
    const clocks = { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs, random: () => 0.5 };
    const environment = { ...clocks, hash: (bytes: Uint8Array) => bytes.slice(0, 32), sign: () => new Uint8Array(64) };
    this.#replica = new Replica({
      ...{ node: 1n, store: this.cells, founds: true },
      environment: { ...environment, verify: () => true },
    });
    this.certificates = this.open();
  }

  open(): ServiceCertificates {
    const box = createSecretBox(generateKeyPairSync('x25519').privateKey);
    const key = new Uint8Array(32).fill(7);
    const opened: ServiceCertificates = new ServiceCertificates({
      ...{ cells: this.cells, tools: certificateTools, nowMs: () => this.nowMs },
      secrets: {
        seal: (secret, about) => ({ keyId: KEY_ID, sealed: box.seal(key, secret, about), writes: [] }),
        open: (_id, sealed, about) => box.open(key, sealed, about),
        has: () => true,
      },
      authority: () => (this.signs ? authority : undefined),
      signers: () => ['north'],
      roots: () => [rootOf(authority)],
      write: (change) => {
        this.changes.push(change);
        this.write(change.writes);
        for (const { kind, id } of change.writes) opened.changed(kind, [id]);
      },
      tell: (change) => void this.told.push(change),
    });
    opened.load();
    return opened;
  }

  write(writes: readonly CellWrite[]): void {
    expect(this.#replica.write({ author: '', message: '', writes })).toMatchObject({ ok: true });
  }
}

test('one is issued for its names, kept with its sealed key, and there again after a restart', async () => {
  const node = new Node();
  const issued = await node.certificates.issue(REQUEST, ADA);
  expect(issued).toMatchObject({
    ...{ name: 'api', source: 'issued', writtenBy: 'ada', standing: 'good', keyAvailable: true, revokedMs: undefined },
    facts: { names: ['api.example.org', '10.0.0.1'], roles: ['server'] },
  });
  const lifeMs = issued.facts.leaf.notAfterMs - issued.facts.leaf.notBeforeMs;
  const halfMs = ((issued.renewsMs ?? 0) - issued.facts.leaf.notBeforeMs) / lifeMs;
  expect([halfMs > 0.44, halfMs < 0.56]).toEqual([true, true]);
  const again = node.open();
  expect(again.list()).toEqual([issued]);
  const { chain: given, key } = again.exportKey('api', ADA);
  expect(new X509Certificate(given).checkPrivateKey(createPrivateKey(key))).toBe(true);
  // What is replicated, and what is told of it, does not have the key.
  const der = createPrivateKey(key).export({ format: 'der', type: 'pkcs8' });
  const cells = node.cells.object(SERVICE_CERTIFICATE_KIND, 'api');
  expect(cells.some(({ value }) => Buffer.from(value ?? []).includes(der.subarray(-48)))).toBe(false);
  expect(JSON.stringify(node.changes.map(({ writes, ...told }) => told))).not.toContain('KEY');
});

test('a name is taken once, without the CA’s key nothing is issued, and the names of those that have it are told', async () => {
  const node = new Node();
  await node.certificates.issue(REQUEST, ADA);
  await expect(node.certificates.issue(REQUEST, ADA)).rejects.toThrow('is there, issued by the mesh: renew it');
  await expect(async () => node.certificates.import(imported('api', true), ADA)).rejects.toThrow('issued by the mesh');
  node.signs = false;
  await expect(node.certificates.issue({ ...REQUEST, name: 'web' }, ADA)).rejects.toThrow('these do: north');
  expect(() => node.certificates.get('web')).toThrow('there is no certificate "web"');
});

test('two that issue one name at once: the second is refused, and nothing of it is written', async () => {
  const node = new Node();
  const both = await Promise.allSettled([node.certificates.issue(REQUEST, ADA), node.certificates.issue(REQUEST, ADA)]);
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(node.changes).toHaveLength(1);
});

test('one is imported with its key, and another in its place only when that is asked for', () => {
  const node = new Node();
  const first = node.certificates.import(imported('shop', false), ADA);
  expect(first).toMatchObject({ source: 'imported', renewsMs: undefined, standing: 'good' });
  expect(() => node.certificates.import(imported('shop', false), ADA)).toThrow('--replace');
  node.certificates.import(imported('shop', true), ADA);
  expect(node.changes).toHaveLength(2);
  expect(() => node.certificates.revoke('shop', 1, ADA)).toThrow("can't be revoked here");
  node.nowMs = first.facts.leaf.notAfterMs - 13 * DAY;
  expect(node.certificates.get('shop').standing).toBe('expiring');
});

test('what is wrong with one is told whole, and nothing is written', () => {
  const node = new Node();
  const odd = { name: 'shop', chain: leaf.pem, key: Buffer.from('nonsense'), replace: false };
  let thrown: unknown;
  try {
    node.certificates.import(odd, ADA);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({
    code: 'invalid',
    violations: [{ path: 'private_key' }, { path: 'chain', reason: expect.stringContaining('Test CA') }],
  });
  expect(node.changes).toEqual([]);
});

test('at half of its life the node whose turn it is renews it, with another key and the same names', async () => {
  const node = new Node();
  const first = await node.certificates.issue(REQUEST, ADA);
  const key = node.certificates.exportKey('api', ADA).key;
  const dueMs = first.renewsMs ?? 0;
  const others = ['00000000000000a1'];
  node.nowMs = dueMs + TURN_MS - 1;
  expect(await node.certificates.renewDue(SELF, others, NODE)).toEqual([]);
  expect(node.changes).toHaveLength(1);
  node.nowMs = dueMs + TURN_MS;
  await node.certificates.renewDue(SELF, others, NODE);
  await node.certificates.renewDue(SELF, [], NODE);
  expect(node.changes.map(({ action, by }) => [action, by.author])).toEqual([
    ['marcher.v1.CertificateService/IssueCertificate', 'ada'],
    ['marcherd/RenewCertificate', 'north'],
  ]);
  const second = node.certificates.get('api');
  expect(second.facts.names).toEqual(first.facts.names);
  expect(second.facts.leaf.serial).not.toBe(first.facts.leaf.serial);
  expect(node.certificates.exportKey('api', ADA).key).not.toBe(key);
  node.signs = false;
  node.nowMs = second.facts.leaf.notAfterMs;
  await node.certificates.renewDue(SELF, [], NODE);
  expect([node.changes.length, node.certificates.get('api').standing]).toEqual([2, 'late']);
});

test('a renewal that another was faster with is left alone', async () => {
  const node = new Node();
  await node.certificates.issue(REQUEST, ADA);
  const both = await Promise.allSettled([
    node.certificates.renew('api', undefined, ADA),
    node.certificates.renew('api', undefined, ADA),
  ]);
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
});

test('a revoked one is in the lists with those before it, is given to no program, and renewed only by hand', async () => {
  const node = new Node();
  const serials = [(await node.certificates.issue(REQUEST, ADA)).facts.leaf.serial];
  serials.push((await node.certificates.renew('api', undefined, ADA)).facts.leaf.serial);
  expect(node.certificates.revoked(NO_REVOCATIONS)).toBe(NO_REVOCATIONS);
  expect([...node.certificates.pairs()].map(({ name }) => name)).toEqual(['api']);
  expect(node.certificates.revoke('api', 1, ADA).standing).toBe('revoked');
  node.certificates.revoke('api', 1, ADA);
  expect(node.changes).toHaveLength(3);
  const revoked = node.open().revoked(NO_REVOCATIONS);
  expect([...revoked.keys()].sort()).toEqual(serials.sort());
  expect(revoked.get(serials[0] ?? '')).toMatchObject({ reason: 1 });
  expect([...node.certificates.pairs()]).toEqual([]);
  node.nowMs += 200 * DAY;
  await node.certificates.renewDue(SELF, [], NODE);
  expect(node.changes).toHaveLength(3);
  await node.certificates.renew('api', undefined, ADA);
  expect([...node.certificates.pairs()]).toHaveLength(1);
  // When they have ended nobody asks any more.
  node.nowMs += 200 * DAY;
  expect(node.certificates.revoked(NO_REVOCATIONS)).toBe(NO_REVOCATIONS);
  expect(node.certificates.forgetWrites()).toHaveLength(2);
});

test('a renewal can revoke what was before it, in one change', async () => {
  const node = new Node();
  const { serial } = (await node.certificates.issue(REQUEST, ADA)).facts.leaf;
  const renewed = await node.certificates.renew('api', 4, ADA);
  expect([renewed.standing, ...node.certificates.revoked(NO_REVOCATIONS).keys()]).toEqual(['good', serial]);
  expect(node.changes).toHaveLength(2);
});

test('a key is given once that is told of, and not when it can not be', async () => {
  const node = new Node();
  await node.certificates.issue(REQUEST, ADA);
  node.certificates.exportKey('api', ADA);
  expect(node.told).toMatchObject([{ action: 'marcher.v1.CertificateService/ExportPrivateKey', name: 'api', by: ADA }]);
  node.told.push = () => {
    throw new Error('the audit log is full');
  };
  expect(() => node.certificates.exportKey('api', ADA)).toThrow('the audit log is full');
});

test('a deleted one is gone, with its key', async () => {
  const node = new Node();
  await node.certificates.issue(REQUEST, ADA);
  node.certificates.remove('api', ADA);
  expect([node.certificates.list(), [...node.certificates.pairs()], node.open().list()]).toEqual([[], [], []]);
  expect(() => node.certificates.remove('api', ADA)).toThrow('there is no certificate "api"');
});

function imported(name: string, replace: boolean) {
  return { name, chain, key: Buffer.from(leaf.keyPem), replace };
}
