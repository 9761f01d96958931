// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { NO_REVOCATIONS } from '../../domain/identity/revocation.js';
import type { NodeRecord } from '../../domain/mesh/node-record.js';
import { type CertificateAuthority, IdentityError } from '../../ports/identity.js';
import type { JoinRequest } from '../../ports/mesh.js';
import { type AdmissionParts, admission } from './admission.js';

const request: JoinRequest = {
  token: 'good',
  certificateRequest: new Uint8Array(10),
  name: 'node9',
  meshAddress: '192.0.2.9:7400',
  gossipAddress: '192.0.2.9:7401',
  frameKey: new Uint8Array(32),
  frameKeySignature: new Uint8Array(96),
};
const member = { nodeId: '8a3f0c61d2e95b74', name: 'node1', meshAddress: '192.0.2.1:7400' } as NodeRecord;

/** Every part works, and says in `asked` that it was asked. */
function parts(changed: Partial<AdmissionParts> = {}): AdmissionParts & { readonly asked: string[] } {
  const asked: string[] = [];
  const all: AdmissionParts = {
    authority: () => ({ issueNode: async () => ({ pem: 'certificate' }) }) as unknown as CertificateAuthority,
    attempt: (token) => (token === 'good' ? { kind: 'good' } : { kind: 'refused', reason: 'no such token' }),
    redeem: () => ({ kind: 'redeemed', nodeId: '0000000000000009', role: 'member' }),
    checkRequest: async () => {},
    revocations: () => NO_REVOCATIONS,
    nodes: () => new Map([[member.nodeId, member]]),
    add: () => {},
    shared: () => ({ roots: [], revocationLists: [], gossipKeys: [] }),
    sealedAuthority: () => '',
    derOf: () => new Uint8Array(),
    nowMs: () => 1_000,
    log: { info: () => {} },
    ...changed,
  };
  const told = Object.entries(all).map(([name, part]) => {
    if (typeof part !== 'function') return [name, part];
    const tell = (...args: never[]): unknown => {
      asked.push(name);
      return (part as (...given: never[]) => unknown)(...args);
    };
    return [name, tell];
  });
  return { ...(Object.fromEntries(told) as AdmissionParts), asked };
}

describe('a machine without a good token', () => {
  it.each([
    ['that has the name of a member', { name: member.name }],
    ['that has the address of a member', { meshAddress: member.meshAddress }],
    ['whose texts are none', { name: '\n' }],
  ])('%s learns nothing of that, and nothing is verified or looked up for it', async (_, changed) => {
    const all = parts();
    const answer = await admission(all)({ ...request, ...changed, token: 'guess' }, '192.0.2.9');
    expect(answer).toEqual({ kind: 'refused', reason: 'no such token' });
    expect(all.asked).toEqual(['authority', 'nowMs', 'attempt']);
  });

  it('is told when it may try again', async () => {
    const all = parts({ attempt: () => ({ kind: 'slowed', reason: 'too many', retryAfterMs: 500 }) });
    expect(await admission(all)(request, '192.0.2.9')).toEqual({
      kind: 'refused',
      reason: 'too many',
      retryAfterMs: 500,
    });
    expect(all.asked).not.toContain('checkRequest');
  });
});

describe('a machine with a good token', () => {
  it.each([
    ['the name of a member', { name: member.name }, /has the name "node1": .* marcher mesh remove 8a3f0c61d2e95b74/],
    ['the address of a member', { meshAddress: member.meshAddress }, /has the address 192\.0\.2\.1:7400/],
  ])('and %s is told what to do, and keeps its token', async (_, changed, reason) => {
    const all = parts();
    expect(await admission(all)({ ...request, ...changed }, '192.0.2.9')).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(reason),
    });
    expect(all.asked).not.toContain('redeem');
  });

  it('keeps it when its certificate request is refused', async () => {
    const checkRequest = (): Promise<never> => Promise.reject(new IdentityError('invalid', 'not signed'));
    const all = parts({ checkRequest });
    expect(await admission(all)(request, '192.0.2.9')).toEqual({ kind: 'refused', reason: 'not signed' });
    expect(all.asked).not.toContain('redeem');
  });

  it('comes into the clusters of its token', async () => {
    const added: (readonly string[])[] = [];
    const redeemed = { kind: 'redeemed', nodeId: '0000000000000009', role: 'member' } as const;
    const add: AdmissionParts['add'] = (_record, _author, clusters) => void added.push(clusters);
    await admission(parts({ add, redeem: () => ({ ...redeemed, clusters: ['eu'] }) }))(request, '192.0.2.9');
    await admission(parts({ add, redeem: () => redeemed }))(request, '192.0.2.9');
    expect(added).toEqual([['eu'], []]);
  });

  it('is let in, once: of two with one token the second is refused, and no certificate is made for it', async () => {
    let left = 1;
    const redeem: AdmissionParts['redeem'] = () => {
      left -= 1;
      if (left < 0) return { kind: 'refused', reason: 'just used' };
      return { kind: 'redeemed', nodeId: '0000000000000009', role: 'member' };
    };
    const all = parts({ redeem });
    const admit = admission(all);
    const answers = await Promise.all([admit(request, '192.0.2.9'), admit(request, '192.0.2.10')]);
    expect(answers.map(({ kind }) => kind)).toEqual(['granted', 'refused']);
    expect(all.asked.filter((part) => part === 'add')).toHaveLength(1);
  });
});
