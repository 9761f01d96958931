// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { type CertificateFacts, USAGE } from './certificate.js';
import { nodeUri } from './names.js';
import { judgePeer, type PeerRules, refusalOfCode } from './peer.js';
import { NO_REVOCATIONS, nodeSerial } from './revocation.js';

const meshId = '0'.repeat(31).concat('1');
const nodeId = '00000000000000a1';
const rules: PeerRules = { meshId, rootKeyIds: ['aa', 'bb'], revocations: NO_REVOCATIONS, role: 'client' };

const good: CertificateFacts = {
  serial: '77',
  fingerprint: 'f0',
  keyId: 'cc',
  issuerKeyId: 'bb',
  notBeforeMs: 1_000,
  notAfterMs: 9_000,
  uris: [nodeUri({ meshId, nodeId })],
  isAuthority: false,
  signsAuthorities: false,
  usages: [USAGE.serverAuth, USAGE.clientAuth],
  curve: 'secp384r1',
};

function judged(changed: Partial<CertificateFacts>, more: Partial<PeerRules> = {}, nowMs = 5_000, chainError?: string) {
  const verdict = judgePeer({ certificate: { ...good, ...changed }, chainError }, { ...rules, ...more }, nowMs);
  return verdict.kind === 'peer' ? verdict.peer : verdict.refusal;
}

describe('a peer', () => {
  it('is known by the node id in its certificate', () => {
    expect(judged({})).toEqual({ meshId, nodeId, serial: '77', expiresAtMs: 9_000 });
    expect(judged({}, { nodeId })).toMatchObject({ nodeId });
  });

  it('without a certificate is told apart: it may join', () => {
    expect(judgePeer(undefined, rules, 0)).toMatchObject({ refusal: 'no-certificate' });
  });

  const revoked = (serial: string) => ({ revocations: new Map([[serial, { serial, revokedAtMs: 0, reason: 0 }]]) });

  it.each([
    [
      'of another mesh',
      judged({ uris: [`spiffe://${'2'.repeat(32)}/node/${nodeId}`], issuerKeyId: 'zz' }),
      'other-mesh',
    ],
    ['of other software', judged({ uris: ['spiffe://cluster.local/ns/default/sa/x'] }), 'other-mesh'],
    ['of a root unknown here', judged({ issuerKeyId: 'zz' }), 'wrong-ca'],
    ['of a root that was retired', judged({}, { rootKeyIds: ['aa'] }), 'wrong-ca'],
    ['with no issuer', judged({ issuerKeyId: '' }, { rootKeyIds: ['aa'] }), 'wrong-ca'],
    ['not really signed by that root', judged({}, {}, 5_000, 'CERT_SIGNATURE_FAILURE'), 'wrong-ca'],
    ['with an error nobody knows', judged({}, {}, 5_000, 'SOMETHING_NEW'), 'wrong-ca'],
    ['that breaks a constraint', judged({}, {}, 5_000, 'INVALID_PURPOSE'), 'unsuitable'],
    ['with no name', judged({ uris: [] }), 'no-node-id'],
    ['with two names', judged({ uris: [...good.uris, ...good.uris] }), 'no-node-id'],
    ['with a path that is no node', judged({ uris: [`spiffe://${meshId}/user/x`] }), 'no-node-id'],
    ['with node id zero', judged({ uris: [`spiffe://${meshId}/node/${'0'.repeat(16)}`] }), 'no-node-id'],
    ['of upper case', judged({ uris: [`spiffe://${meshId}/node/00000000000000A1`] }), 'no-node-id'],
    ['of a CA itself', judged({ isAuthority: true }), 'unsuitable'],
    ['for servers only, as a client', judged({ usages: [USAGE.serverAuth] }), 'unsuitable'],
    ['for clients only, as a server', judged({ usages: [USAGE.clientAuth] }, { role: 'server' }), 'unsuitable'],
    ['before its time', judged({}, {}, 999), 'not-yet-valid'],
    ['after its time', judged({}, {}, 9_001), 'expired'],
    ['after its time by the clock of OpenSSL', judged({}, {}, 5_000, 'CERT_HAS_EXPIRED'), 'expired'],
    ['revoked by its serial', judged({}, revoked('77')), 'revoked'],
    ['revoked by its node', judged({}, revoked(nodeSerial(nodeId))), 'revoked'],
    ['another than was called', judged({}, { nodeId: '00000000000000a2' }), 'other-node'],
  ])('%s is refused', (_, refusal, expected) => {
    expect(refusal).toBe(expected);
  });

  it('is named by the code of OpenSSL when TLS itself has refused it', () => {
    expect(refusalOfCode('SELF_SIGNED_CERT_IN_CHAIN')).toBe('wrong-ca');
    expect(refusalOfCode('CERT_HAS_EXPIRED')).toBe('expired');
    expect(refusalOfCode('CERT_NOT_YET_VALID')).toBe('not-yet-valid');
    expect(refusalOfCode('INVALID_PURPOSE')).toBe('unsuitable');
    expect(refusalOfCode('ECONNRESET')).toBeUndefined();
  });
});
