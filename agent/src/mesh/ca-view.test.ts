// SPDX-License-Identifier: Apache-2.0
import { beforeAll, expect, test } from 'vitest';
import { testAuthority, testNode } from '../adapters/outbound/identity/testing/mesh.js';
import { LIFETIME } from '../domain/identity/lifetime.js';
import type { RootRecord } from '../domain/identity/root-statement.js';
import { firstRoot, type TrustedRoot } from '../domain/identity/trust.js';
import type { CaView, HeldRoots, Leaf } from '../domain/mesh/root-rotation.js';
import type { NodeCredentials } from '../ports/identity.js';
import { caConditions, caView, type Known, leavesInUse } from './ca-view.js';
import type { Part } from './part.js';

const MADE = Date.UTC(2026, 10, 22);
const DAY = 86_400_000;
const [SELF, OTHER] = ['00000000000000a1', '00000000000000b2'];

let old: TrustedRoot;
let next: TrustedRoot;
let credentials: NodeCredentials;

beforeAll(async () => {
  const authority = await testAuthority(MADE);
  old = firstRoot(authority);
  next = { ...firstRoot(await testAuthority(MADE + DAY)), signsFromMs: undefined };
  credentials = await testNode(authority, SELF, MADE);
});

const idOf = ({ certificate }: TrustedRoot): string => certificate.fingerprint;

function known(
  roots: readonly TrustedRoot[],
  nowMs: number,
  changed: Partial<CaView> = {},
  keys: string[] = [],
): Known {
  const members = new Map([
    [SELF, { name: 'one' }],
    [OTHER, { name: 'two' }],
  ]);
  const part = { identity: { nodeId: SELF, roots }, nodes: { members }, credentials } as unknown as Part;
  const own: HeldRoots = { trusted: roots.map(idOf), keys };
  const plan = { plannedMs: MADE + 2 * DAY, hastened: false, endorsements: [{}] } as unknown as RootRecord;
  const records = new Map([[idOf(next), plan]]);
  const base: CaView = {
    ...{ nowMs, roots, plans: records, keys: new Set(keys), there: [OTHER], said: new Map(), leaves: [], settleMs: 0 },
    ...changed,
  };
  return { part, view: base, own, records };
}

const reasons = (of: Known, keyFailure = ''): string[] => caConditions(of, keyFailure).map(({ reason }) => reason);

test('what waits in a change is said once it waits, with who holds it up and until when', () => {
  const roots = [old, next];
  const at = MADE + DAY + 120_000;
  expect(caConditions(known([old], MADE), '')).toEqual([]);
  expect(reasons(known(roots, MADE + DAY), '')).toEqual([]);
  const [missing] = caConditions(known(roots, at), '');
  expect(missing).toMatchObject({ type: 'MeshRoots', status: false, reason: 'KeyMissing' });
  const [lacking] = caConditions(known(roots, at, {}, [idOf(next)]), '');
  expect(lacking?.reason).toBe('NotTaken');
  expect(lacking?.message).toContain('is not taken by two, and will be cut off when it signs at 2026-11-24T00:00:00');
  const said = new Map([[OTHER, { trusted: roots.map(idOf), keys: [] }]]);
  expect(reasons(known(roots, at, { said }, [idOf(next)]))).toEqual([]);
  expect(reasons(known(roots, at, { said }, [idOf(next)]), 'the key file is another')).toEqual(['KeyNotTaken']);
});

test('an old root that is still needed after a month, one that expires, and a certificate of one that is retired', () => {
  const signs = { ...next, signsFromMs: MADE + DAY };
  const later = MADE + 40 * DAY;
  const alice: Leaf = {
    ...{ name: 'alice', kind: 'client' },
    certificate: { ...old.certificate, issuerKeyId: old.certificate.keyId, notAfterMs: later + DAY },
  };
  expect(reasons(known([old, signs], MADE + 20 * DAY, { leaves: [alice] }))).toEqual([]);
  const [needed] = caConditions(known([old, signs], later, { leaves: [alice] }), '');
  expect(needed?.reason).toBe('NotRetired');
  expect(needed?.message).toContain('certificates of user alice: ');
  expect(reasons(known([old], MADE + LIFETIME.rootMs - 366 * DAY))).toEqual([]);
  expect(reasons(known([old], MADE + LIFETIME.rootMs - 364 * DAY))).toEqual(['ExpiresSoon']);
  const retired = { ...old, retiredAtMs: MADE + 2 * DAY };
  const [cut] = caConditions(known([retired, signs], later), 'also this');
  expect(cut).toMatchObject({ reason: 'CertificateRetired' });
  expect(cut?.message).toContain('retired at 2026-11-24T00:00:00.000Z');
  expect(reasons(known([retired, signs], later))).toHaveLength(1);
});

test('certificates in use are those of members and of operators that are not revoked, each of its root', () => {
  const roots = [old, { ...next, signsFromMs: MADE + DAY }];
  const client = { user: 'u', expiresMs: MADE + 90 * DAY, issuedBy: '', issuerKeyId: '', revokedMs: undefined };
  const list = [
    { ...client, serial: '1', issuedMs: MADE },
    { ...client, serial: '2', issuedMs: MADE + 2 * DAY },
    { ...client, serial: '3', issuedMs: MADE + 2 * DAY, issuerKeyId: old.certificate.keyId },
    { ...client, serial: '4', issuedMs: MADE, revokedMs: MADE },
  ];
  const members = new Map([[OTHER, { name: 'two', certificates: [Uint8Array.of(1)] }]]);
  const web = { name: 'web', source: 'issued', revokedMs: undefined, facts: { leaf: old.certificate } };
  const services = { list: () => [web, { ...web, source: 'imported' }, { ...web, revokedMs: MADE }] };
  const known1 = { identity: { roots }, nodes: { members }, clients: { list: () => list }, certificates: { services } };
  const part = known1 as unknown as Part;
  const issuers = leavesInUse(part).map(({ certificate }) => [certificate.serial, certificate.issuerKeyId]);
  const [first, second] = [old.certificate.keyId, next.certificate.keyId];
  expect(issuers).toEqual([
    ['1', first],
    ['2', second],
    ['3', first],
    [old.certificate.serial, ''],
  ]);
  const view = caView(known(roots, MADE + 3 * DAY, { leaves: leavesInUse(part) }));
  expect(view.roots.map(({ state, leaves }) => [state, leaves.length])).toEqual([
    ['signs', 1],
    ['trusted', 2],
  ]);
});
