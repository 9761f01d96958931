// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { NO_REVOCATIONS, REVOCATIONS_MAX } from '../../domain/identity/revocation.js';
import {
  CLIENT_CERTIFICATE_KIND,
  CLIENT_RECORD_GROUP,
  CLIENT_REVOKED_GROUP,
  packClientRecord,
} from '../../domain/mesh/client-certificate.js';
import type { Cell, CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { compareKeys, EXISTENCE } from '../../domain/replication/object.js';
import type { CertificateAuthority } from '../../ports/identity.js';
import type { Caller } from '../../ports/use-cases.js';
import { ClientCertificates } from './client-certificates.js';

const DAY = 86_400_000;
const ADA: Caller = { author: 'ada', origin: 'api' };
const REQUEST = { user: 'alice', request: Uint8Array.of(1), lifetimeMs: 90 * DAY };

/** One node's cells, written in turn; its CA numbers what it signs. */
class Node {
  nowMs = 1_000 * DAY;
  signs = true;
  readonly written: CellWrite[] = [];
  readonly #cells = new Map<string, Cell>();
  #serial = 0;

  open(): ClientCertificates {
    const authority: Partial<CertificateAuthority> = {
      issueClient: async (_request, { lifetimeMs }, nowMs) => {
        const serial = (++this.#serial).toString(16);
        const certificate = { serial, notAfterMs: nowMs + lifetimeMs, issuerKeyId: 'a1' };
        return { pem: 'pem', certificate: certificate as never };
      },
    };
    const all = (): Cell[] => [...this.#cells.values()];
    const cells: Partial<ReplicaStore> = {
      object: (kind, id) => all().filter((cell) => cell.kind === kind && cell.id === id),
      kind: (wanted, after) =>
        after === undefined
          ? all()
              .filter(({ kind }) => kind === wanted)
              .sort(compareKeys)
          : [],
    };
    const made = new ClientCertificates({
      cells: cells as ReplicaStore,
      authority: () => (this.signs ? (authority as CertificateAuthority) : undefined),
      signers: () => ['north'],
      roots: () => 'roots',
      write: ({ writes }) => {
        this.write(writes);
        made.changed(writes.map(({ id }) => id));
      },
      nowMs: () => this.nowMs,
    });
    made.load();
    return made;
  }

  write(writes: readonly CellWrite[]): void {
    this.written.push(...writes);
    for (const write of writes) {
      const stamp = { wall: this.#cells.size + 1, counter: 0, node: 1n } as unknown as Cell['stamp'];
      this.#cells.set(`${write.id}/${write.group}`, { ...write, stamp, origin: '' as never, sequence: 1, mark: 0 });
    }
  }
}

test('what is issued is written before it is given, and what is revoked is so after a restart', async () => {
  const node = new Node();
  const certificates = node.open();
  const { details } = await certificates.issue(REQUEST, ADA);
  expect(node.written.map(({ id, group }) => [id, group])).toEqual([
    ['1', EXISTENCE],
    ['1', CLIENT_RECORD_GROUP],
  ]);
  expect(certificates.list()).toEqual([details]);
  expect(certificates.revoked(NO_REVOCATIONS)).toBe(NO_REVOCATIONS);
  certificates.revoke('1', ADA);
  certificates.revoke('1', ADA);
  expect(node.written).toHaveLength(3);
  const again = node.open();
  expect(again.list()).toEqual([{ ...details, revokedMs: node.nowMs }]);
  expect([...again.revoked(NO_REVOCATIONS).keys()]).toEqual(['1']);
  node.nowMs += 91 * DAY;
  // Nobody can show it any more.
  expect(again.revoked(NO_REVOCATIONS)).toBe(NO_REVOCATIONS);
});

test('what is revoked is refused however many revocations there are', async () => {
  const node = new Node();
  const certificates = node.open();
  await certificates.issue(REQUEST, ADA);
  certificates.revoke('1', ADA);
  const full = Array.from({ length: REVOCATIONS_MAX }, (_, at) => (0x1000 + at).toString(16));
  const before = new Map(full.map((serial) => [serial, { serial, revokedAtMs: 0, reason: 0 }]));
  expect(certificates.revoked(before).has('1')).toBe(true);
  expect(certificates.revoked(before).size).toBe(REVOCATIONS_MAX + 1);
});

test('a revocation that can not be read revokes, and a record that is not of its serial is none', () => {
  const node = new Node();
  const key = { kind: CLIENT_CERTIFICATE_KIND, id: 'ab' };
  const facts = {
    user: 'alice',
    issuedMs: node.nowMs,
    expiresMs: node.nowMs + DAY,
    issuedBy: '',
    issuerKeyId: '',
    revokedMs: undefined,
  };
  node.write([
    { ...key, group: EXISTENCE, value: new Uint8Array() },
    { ...key, group: CLIENT_RECORD_GROUP, value: packClientRecord({ ...facts, serial: 'ab' }) },
    { ...key, group: CLIENT_REVOKED_GROUP, value: Uint8Array.of(0xff, 0xff) },
    { ...key, id: 'cd', group: EXISTENCE, value: new Uint8Array() },
    { ...key, id: 'cd', group: CLIENT_RECORD_GROUP, value: packClientRecord({ ...facts, serial: 'ab' }) },
  ]);
  const certificates = node.open();
  expect(certificates.list().map(({ serial }) => serial)).toEqual(['ab']);
  expect(certificates.revoked(NO_REVOCATIONS).has('ab')).toBe(true);
});

test('expired ones are forgotten after 30 days, when another is issued', async () => {
  const node = new Node();
  const certificates = node.open();
  await certificates.issue(REQUEST, ADA);
  node.nowMs += 119 * DAY;
  await certificates.issue(REQUEST, ADA);
  expect(certificates.list().map(({ serial }) => serial)).toEqual(['2', '1']);
  node.nowMs += 2 * DAY;
  await certificates.issue(REQUEST, ADA);
  expect(certificates.list().map(({ serial }) => serial)).toEqual(['3', '2']);
});

test('a node without the key of the CA names one that has it', async () => {
  const node = new Node();
  node.signs = false;
  await expect(node.open().issue(REQUEST, ADA)).rejects.toMatchObject({
    code: 'refused',
    message: expect.stringContaining('these do: north'),
  });
  await expect(node.open().issue({ ...REQUEST, user: '..' }, ADA)).rejects.toMatchObject({ code: 'invalid' });
  expect(node.written).toEqual([]);
});
