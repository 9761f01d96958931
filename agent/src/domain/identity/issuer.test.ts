// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { CertificateFacts } from './certificate.js';
import { intermediateFault } from './issuer.js';
import { judgePeer } from './peer.js';
import type { RootRecord } from './root-statement.js';
import { heard, introduction, testFirst, testRoot, word } from './testing/roots.js';
import {
  anchors,
  blockers,
  FORGET_DAYS,
  issuers,
  pendingRoot,
  retirementFault,
  signingRoot,
  type TrustedRoot,
  trustedRoots,
} from './trust.js';

const DAY = 86_400_000;
const MESH = '1'.repeat(32);
const root = testFirst('root!', 0);
const one = testFirst('one<root!', 0);
const mesh: readonly TrustedRoot[] = [one, root];
const names = (roots: readonly TrustedRoot[]): string[] => roots.map(({ pem }) => pem).sort();

/** An intermediate as its holder tells of it, when it signs already. */
const signing = (name: string, madeMs: number): RootRecord => {
  return { ...introduction(name, madeMs, []), signing: word('sign', name, name, madeMs) };
};
const fault = (changed: Partial<CertificateFacts>, nowMs = DAY): string | undefined =>
  intermediateFault({ ...one.certificate, ...changed }, MESH, root.certificate, nowMs);

describe('an intermediate', () => {
  it('signs in place of its offline root, which is what others know the mesh by and signs no leaf', () => {
    expect(signingRoot(mesh, DAY)).toBe(one);
    expect(pendingRoot(mesh, DAY)).toBeUndefined();
    expect(names(issuers(mesh, DAY))).toEqual(['one<root!']);
    expect(names(anchors(mesh, DAY))).toEqual(['root!']);
    // Also when somebody says by its key that it does.
    const said = { ...introduction('root!', 0, []), signing: word('sign', 'root!', 'root!', DAY) };
    expect(signingRoot(heard(mesh, [said], DAY), DAY)).toBe(one);
  });

  it('is refused where it could sign CAs, is of another root or mesh, outlives its root, or is over', () => {
    expect(fault({})).toBeUndefined();
    expect(fault({ signsAuthorities: true })).toContain('path length is not 0');
    expect(fault({ issuerKeyId: 'key-other!' })).toContain('not one of that root');
    expect(fault({ issuerKeyId: '' })).toContain('not one of that root');
    expect(fault({ isAuthority: false })).toContain("not a CA's certificate");
    expect(fault({ uris: [`spiffe://${'2'.repeat(32)}`] })).toContain('not of mesh');
    expect(fault({ uris: [] })).toContain('not of mesh');
    expect(fault({ notAfterMs: root.certificate.notAfterMs + 1 })).toContain('longer than its root');
    expect(fault({}, one.certificate.notAfterMs + 1)).toContain('has expired');
    // A root that signs leaves itself has none: its own path length forbids it.
    const { certificate: plain } = testRoot('plain', 0);
    expect(intermediateFault({ ...one.certificate, issuerKeyId: plain.keyId }, MESH, plain, DAY)).toBeDefined();
  });

  it('is nothing without its root: neither when that is not known, nor retired, nor over', () => {
    expect(trustedRoots([one], DAY)).toEqual([]);
    expect(trustedRoots([one, { ...root, retiredAtMs: DAY }], DAY)).toEqual([]);
    expect(names(trustedRoots([one, { ...root, retiredAtMs: DAY }], DAY - 1))).toEqual(['one<root!', 'root!']);
    expect(signingRoot([one], DAY)).toBeUndefined();
    expect(signingRoot(mesh, one.certificate.notAfterMs + 1)).toBeUndefined();
  });

  it('comes by the signature of its root, and of nobody else', () => {
    const at = 10 * DAY;
    expect(names(heard(mesh, [introduction('two<root!', at, [])], at))).toEqual(['one<root!', 'root!', 'two<root!']);
    const forged = [
      introduction('forged<root!', at, []),
      introduction('two<other!', at, []),
      introduction('two<one<root!', at, []),
      // Words of roots that are trusted do not stand for that signature.
      introduction('forged<root!', at, ['root!']),
    ];
    for (const record of forged) expect(heard(mesh, [record], at)).toBe(mesh);
    expect(heard([one, { ...root, retiredAtMs: at }], [introduction('two<root!', at, [])], at)).toHaveLength(2);
  });

  it('introduces no root: with its key stolen, nobody gets a root of their own in', () => {
    const at = 10 * DAY;
    expect(heard(mesh, [introduction('mine!', at, ['one<root!'])], at)).toBe(mesh);
    expect(heard(mesh, [introduction('mine', at, ['one<root!'])], at)).toBe(mesh);
    expect(names(heard(mesh, [introduction('next!', at, ['root!'])], at))).toEqual(['next!', 'one<root!', 'root!']);
  });

  it('takes over from the one before, which it retires; it retires neither its root nor a newer one', () => {
    const at = 10 * DAY;
    const both = heard(mesh, [signing('two<root!', at)], at);
    expect(signingRoot(both, at)?.pem).toBe('two<root!');
    const said = (of: string, by: string): RootRecord => {
      return { ...introduction(of, 0, []), retirement: word('retire', of, by, at) };
    };
    expect(names(trustedRoots(heard(both, [said('one<root!', 'two<root!')], at), at))).toEqual(['root!', 'two<root!']);
    expect(heard(both, [said('root!', 'two<root!')], at)).toBe(both);
    expect(heard(both, [said('two<root!', 'one<root!')], at)).toBe(both);
    const [, , two] = both;
    expect(retirementFault(both, one, at)).toBeUndefined();
    expect(retirementFault(both, root, at)).toContain('retire these first');
    expect(retirementFault(both, two ?? one, at)).toContain('no newer root signs');
  });

  it('of a new root retires the root before, once nothing is left below that', () => {
    const at = 10 * DAY;
    const records = [introduction('next!', at, ['root!']), signing('two<next!', at)];
    const all = heard(mesh, records, at);
    expect(signingRoot(all, at)?.pem).toBe('two<next!');
    expect(retirementFault(all, root, at)).toContain('retire these first');
    const retire = (of: string): RootRecord => {
      return { ...introduction(of, 0, []), retirement: word('retire', of, 'two<next!', at) };
    };
    const later = heard(all, [retire('one<root!')], at);
    expect(retirementFault(later, root, at)).toBeUndefined();
    expect(names(trustedRoots(heard(later, [retire('root!')], at), at))).toEqual(['next!', 'two<next!']);
    // Not the other way round: what is of the older root retires nothing of the newer.
    const back: RootRecord = { ...introduction('next!', at, []), retirement: word('retire', 'next!', 'one<root!', at) };
    expect(heard(all, [back], at)).toBe(all);
  });

  it('that was retired does not come back when that is forgotten, by whoever has stolen its key', () => {
    const at = 10 * DAY;
    const retired = { ...introduction('one<root!', 0, []), retirement: word('retire', 'one<root!', 'two<root!', at) };
    const forgotten = heard(mesh, [signing('two<root!', at), retired], at + (FORGET_DAYS + 1) * DAY);
    expect(names(forgotten)).toEqual(['root!', 'two<root!']);
    expect(heard(forgotten, [signing('one<root!', 0)], at + (FORGET_DAYS + 1) * DAY)).toBe(forgotten);
    // Two that were made on two sides of a partition come to be known to both.
    const other = heard(mesh, [signing('two<root!', at)], at);
    expect(names(heard(other, [signing('late<root!', at - DAY)], at + 2 * DAY))).toContain('late<root!');
  });

  it('is judged by what signed the leaf: one of the root itself, or of an intermediate that is not trusted, is refused', () => {
    const nodeId = '00000000000000a1';
    const leaf = {
      ...one.certificate,
      isAuthority: false,
      usages: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
      uris: [`spiffe://${MESH}/node/${nodeId}`],
    };
    const verdict = (issuerKeyId: string, roots: readonly TrustedRoot[]): string => {
      const rootKeyIds = issuers(roots, DAY).map(({ certificate }) => certificate.keyId);
      const presented = { certificate: { ...leaf, issuerKeyId }, chainError: undefined };
      const judged = judgePeer(presented, { meshId: MESH, rootKeyIds, revocations: new Map(), role: 'client' }, DAY);
      return judged.kind === 'refused' ? judged.refusal : judged.kind;
    };
    expect(verdict('key-one<root!', mesh)).toBe('peer');
    expect(verdict('key-root!', mesh)).toBe('wrong-ca');
    expect(verdict('key-two<root!', mesh)).toBe('wrong-ca');
    expect(verdict('key-one<root!', [{ ...one, retiredAtMs: DAY }, root])).toBe('wrong-ca');
  });

  it('is needed by the certificates that it has signed, as a root is', () => {
    const leaf = (issuerKeyId: string) => ({ certificate: { ...one.certificate, issuerKeyId } });
    expect(blockers(one, [leaf('key-one<root!'), leaf('key-root!')], DAY)).toHaveLength(1);
  });
});
