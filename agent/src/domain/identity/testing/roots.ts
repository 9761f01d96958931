// SPDX-License-Identifier: Apache-2.0
/** Roots for tests of rules: a certificate is its name and when it was made, a signature is who signed what, in text. */
import type { CertificateFacts } from '../certificate.js';
import { LIFETIME } from '../lifetime.js';
import { type ChainRules, learnRoots } from '../root-chain.js';
import type { RootRecord, RootSignature, RootStatement, RootWord } from '../root-statement.js';
import { statementBytes } from '../root-statement.js';
import { firstRoot, type TrustedRoot } from '../trust.js';

const MESH = '1'.repeat(32);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function testRoot(
  name: string,
  madeMs: number,
): { readonly certificate: CertificateFacts; readonly pem: string } {
  const certificate: CertificateFacts = {
    serial: '80000000',
    fingerprint: name,
    keyId: `key-${name}`,
    issuerKeyId: '',
    notBeforeMs: madeMs,
    notAfterMs: madeMs + LIFETIME.rootMs,
    uris: [],
    isAuthority: true,
    usages: [],
    curve: 'secp384r1',
  };
  return { certificate, pem: name };
}

export function testFirst(name: string, madeMs: number): TrustedRoot {
  return firstRoot(testRoot(name, madeMs));
}

/** by: whose key it is made with; as: whose it is said to be. */
export function testSignature(by: string, statement: RootStatement, as: string = by): RootSignature {
  const text = decoder.decode(statementBytes(MESH, statement));
  return { root: as, signature: encoder.encode(`${by}|${text}`) };
}

export function introduction(
  name: string,
  madeMs: number,
  endorsers: readonly string[],
  plannedMs = madeMs,
): RootRecord {
  const statement: RootStatement = { kind: 'introduce', root: name, atMs: plannedMs };
  return {
    certificate: encoder.encode(`${name}@${madeMs}`),
    plannedMs,
    endorsements: endorsers.map((by) => testSignature(by, statement)),
    hastened: false,
    signing: undefined,
    retirement: undefined,
  };
}

export function word(kind: RootStatement['kind'], root: string, by: string, atMs: number): RootWord {
  return { atMs, by: testSignature(by, { kind, root, atMs }) };
}

export function heard(known: readonly TrustedRoot[], records: readonly RootRecord[], nowMs: number) {
  const rules: ChainRules = {
    nowMs,
    read(der) {
      const [name, made] = decoder.decode(der).split('@');
      return name === undefined || made === undefined ? undefined : testRoot(name, Number(made));
    },
    verify: ({ pem }, statement, signature) =>
      decoder.decode(signature) === decoder.decode(testSignature(pem, statement).signature),
  };
  return learnRoots(known, records, rules);
}
