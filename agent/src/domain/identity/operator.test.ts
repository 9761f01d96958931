// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { type CertificateFacts, USAGE } from './certificate.js';
import { clientProfile } from './issue.js';
import { LIFETIME } from './lifetime.js';
import { isUserName, nodeUri, parseNodeUri, parseUserUri, serviceUri, userUri } from './names.js';
import { judgeOperator, type OperatorRules } from './operator.js';
import { NO_REVOCATIONS } from './revocation.js';

const meshId = '0'.repeat(31).concat('1');
const rules: OperatorRules = { meshId, rootKeyIds: ['aa', 'bb'], revocations: NO_REVOCATIONS };
const good: CertificateFacts = {
  serial: '77',
  fingerprint: 'f0',
  keyId: 'cc',
  issuerKeyId: 'bb',
  notBeforeMs: 1_000,
  notAfterMs: 9_000,
  uris: [userUri({ meshId, user: 'alice' })],
  isAuthority: false,
  signsAuthorities: false,
  usages: [USAGE.clientAuth],
  curve: 'secp384r1',
};

function judged(
  changed: Partial<CertificateFacts>,
  { rule = {}, nowMs = 5_000, chainError }: { rule?: Partial<OperatorRules>; nowMs?: number; chainError?: string } = {},
) {
  const verdict = judgeOperator({ certificate: { ...good, ...changed }, chainError }, { ...rules, ...rule }, nowMs);
  return verdict.kind === 'operator' ? verdict.operator : verdict.refusal;
}

describe('an operator', () => {
  it('is known by the user in its certificate', () => {
    expect(judged({})).toEqual({ meshId, user: 'alice', serial: '77', expiresAtMs: 9_000 });
  });

  it.each([
    ['of another mesh', judged({ uris: [userUri({ meshId: '2'.repeat(32), user: 'alice' })] }), 'other-mesh'],
    ['of a root that is not trusted', judged({ issuerKeyId: 'zz' }), 'wrong-ca'],
    ['that OpenSSL finds forged', judged({}, { chainError: 'CERT_SIGNATURE_FAILURE' }), 'wrong-ca'],
    ['for servers, says OpenSSL', judged({}, { chainError: 'INVALID_PURPOSE' }), 'unsuitable'],
    ['that expired by OpenSSL alone', judged({}, { chainError: 'CERT_HAS_EXPIRED' }), 'expired'],
    ['that expired by our clock alone', judged({}, { nowMs: 9_001 }), 'expired'],
    ['that is not valid yet', judged({}, { nowMs: 999 }), 'not-yet-valid'],
    ['of a node', judged({ uris: [nodeUri({ meshId, nodeId: '00000000000000a1' })] }), 'a-node'],
    ['of a user and a node', judged({ uris: [good.uris[0] ?? '', `spiffe://${meshId}/node/1`] }), 'unsuitable'],
    ['of a service', judged({ uris: [serviceUri({ meshId, name: 'alice' })] }), 'unsuitable'],
    ['of nobody', judged({ uris: [] }), 'unsuitable'],
    ['of the root itself', judged({ isAuthority: true }), 'unsuitable'],
    ['not for clients', judged({ usages: [USAGE.serverAuth] }), 'unsuitable'],
    [
      'that was revoked',
      judged({}, { rule: { revocations: new Map([['77', { serial: '77', revokedAtMs: 0, reason: 0 }]]) } }),
      'revoked',
    ],
  ])('is nobody with a certificate %s', (_what, verdict, refusal) => expect(verdict).toBe(refusal));
});

describe('what a certificate names', () => {
  it('is a user or a node, never both', () => {
    const uri = userUri({ meshId, user: 'a.b_c-9' });
    expect(parseUserUri(uri)).toEqual({ meshId, user: 'a.b_c-9' });
    expect(parseNodeUri(uri)).toBeUndefined();
    expect(parseUserUri(nodeUri({ meshId, nodeId: '00000000000000a1' }))).toBeUndefined();
    expect(parseUserUri(`${uri}/node/00000000000000a1`)).toBeUndefined();
  });

  it.each(['', '-a', '.', '..', 'A', 'a/b', 'a b', 'a'.repeat(65), 'ä', 'a\n'])('%j is no user', (text) => {
    expect(isUserName(text)).toBe(false);
  });
});

describe('issuing', () => {
  const mesh = { id: meshId, name: 'prod' };
  const root = { ...good, notBeforeMs: 0, notAfterMs: LIFETIME.rootMs };
  const profile = (user: string, lifetimeMs: number) => clientProfile(mesh, { user, lifetimeMs }, root, 1_000_000);

  it('makes clients only, for no longer than a year and no longer than the root', () => {
    expect(profile('alice', LIFETIME.clientMs)).toMatchObject({
      profile: { commonName: 'alice', roles: ['client'], validity: { notAfterMs: 1_000_000 + LIFETIME.clientMs } },
    });
    expect(profile('alice', LIFETIME.clientMaxMs + 1)).toMatchObject({ kind: 'refused' });
    expect(profile('alice', 0)).toMatchObject({ kind: 'refused' });
    expect(profile('alice', Number.NaN)).toMatchObject({ kind: 'refused' });
    expect(profile('../root', LIFETIME.clientMs)).toMatchObject({ kind: 'refused' });
    const short = clientProfile(mesh, { user: 'a', lifetimeMs: LIFETIME.clientMs }, { ...root, notAfterMs: 2e6 }, 1e6);
    expect(short).toMatchObject({ profile: { validity: { notAfterMs: 2e6 } } });
  });
});
