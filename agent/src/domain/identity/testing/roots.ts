// SPDX-License-Identifier: Apache-2.0
/** Roots for tests of rules: a certificate is its name and when it was made, a signature is who signed what, in text. */
import type { CertificateFacts } from '../certificate.js';
import { LIFETIME } from '../lifetime.js';
import { meshUri } from '../names.js';
import { type ChainRules, learnRoots } from '../root-chain.js';
import type { RootRecord, RootSignature, RootStatement, RootWord } from '../root-statement.js';
import { statementBytes } from '../root-statement.js';
import { firstRoot, type TrustedRoot } from '../trust.js';

const INTERMEDIATE_MS = 1_095 * 86_400_000;
const MESH = '1'.repeat(32);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An intermediate is named "name<parent", an offline root "name!". */
export function testRoot(
  name: string,
  madeMs: number,
): { readonly certificate: CertificateFacts; readonly pem: string } {
  const [, parent] = name.split('<');
  const certificate: CertificateFacts = {
    serial: '80000000',
    fingerprint: name,
    keyId: `key-${name}`,
    issuerKeyId: parent === undefined ? '' : `key-${parent}`,
    notBeforeMs: madeMs,
    notAfterMs: madeMs + (parent === undefined ? LIFETIME.rootMs : INTERMEDIATE_MS),
    uris: [meshUri(MESH)],
    isAuthority: true,
    signsAuthorities: parent === undefined && name.endsWith('!'),
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
    meshId: MESH,
    // The certificate says who has; that of one whose name begins with "forged" lies.
    signed: ({ pem }, of) => of.endsWith(`<${pem}`) && !of.startsWith('forged'),
    read(der) {
      const [name, made] = decoder.decode(der).split('@');
      return name === undefined || made === undefined ? undefined : testRoot(name, Number(made));
    },
    verify: ({ pem }, statement, signature) =>
      decoder.decode(signature) === decoder.decode(testSignature(pem, statement).signature),
  };
  return learnRoots(known, records, rules);
}
