// SPDX-License-Identifier: Apache-2.0
/**
 * Chains of certificates: what they say, and whether one that is brought from elsewhere is in order with its key. All faults
 * are found at once, and none quotes from the key.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { DNS, IP, PemConverter } from '@marcher/ca/x509';
import { type CertificateFacts, USAGE } from '../../../domain/identity/certificate.js';
import type { CertificateRole } from '../../../domain/identity/issue.js';
import { validityAt } from '../../../domain/identity/lifetime.js';
import { CERTIFICATE_LIMITS } from '../../../domain/mesh/service-certificate.js';
import type { CertificateTools, ChainFacts, ChainFault, CheckedImport } from '../../../ports/certificates.js';
import { CERTIFICATE_MAX_BYTES, factsOf, namedFactsOf } from './certificate-facts.js';
import { createNodeRequest } from './node-request.js';

const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
const CHAIN_MAX = 10;
const NAMES_MAX = 1_000;
const RSA_MIN_BITS = 2_048;
/** A larger one costs every handshake more than it is worth. */
const RSA_MAX_BITS = 8_192;
const CURVES: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384' };
const ALLOWED = `EC P-256 or P-384, RSA of ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits, Ed25519`;
/** Digests by which signatures can be forged. */
const WEAK = /md5|md4|md2|sha1(?![0-9])/i;

export const certificateTools: CertificateTools = {
  read(chain) {
    const [leaf] = chain.match(PEM) ?? [];
    if (leaf === undefined || leaf.length > CERTIFICATE_MAX_BYTES) return undefined;
    try {
      return chainFacts(new X509Certificate(leaf));
    } catch {
      return undefined;
    }
  },
  check: checkImport,
  async newKey() {
    const { privateKeyPem, request } = await createNodeRequest();
    return { key: derOf(createPrivateKey(privateKeyPem)), request };
  },
  sentOf(issued) {
    const chain = (issued.match(PEM) ?? []).map((pem) => new X509Certificate(pem));
    return sent(chain);
  },
  // What was sealed was a key: OpenSSL need not look at each again whenever all of them are written.
  keyPem: (key) => `${PemConverter.encode(Uint8Array.from(key), 'PRIVATE KEY')}\n`,
};

/** Throws IdentityError when there is something in it that can't be read. */
function chainFacts(certificate: X509Certificate): ChainFacts {
  const { facts: leaf, names: all } = namedFactsOf(certificate);
  const named = (wanted: string): string[] => all.filter(({ type }) => type === wanted).map(({ value }) => value);
  return {
    leaf,
    names: [...named(DNS), ...named(IP)].slice(0, NAMES_MAX),
    issuer: certificate.issuer.split('\n').join(', '),
    keyType: keyTypeOf(certificate.publicKey),
    roles: rolesOf(leaf),
  };
}

/** Without extended usages it is for everything (RFC 5280, 4.2.1.12). */
function rolesOf({ usages }: CertificateFacts): CertificateRole[] {
  if (usages.length === 0) return ['server', 'client'];
  return [
    ...(usages.includes(USAGE.serverAuth) ? (['server'] as const) : []),
    ...(usages.includes(USAGE.clientAuth) ? (['client'] as const) : []),
  ];
}

function keyTypeOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  const type = key.asymmetricKeyType ?? '';
  if (type === 'ec') return `EC ${CURVES[namedCurve ?? ''] ?? namedCurve}`;
  if (type === 'rsa') return `RSA ${modulusLength}`;
  return type === 'ed25519' ? 'Ed25519' : type.toUpperCase();
}

class Found {
  readonly faults: ChainFault[] = [];

  add(path: string, reason: string, fix: string): void {
    this.faults.push({ path, reason, fix });
  }
}

function checkImport(chainText: string, keyBytes: Uint8Array, nowMs: number): CheckedImport {
  const found = new Found();
  const chain = readChain(chainText, found);
  const key = readKey(keyBytes, found);
  const [leaf] = chain;
  let facts: ChainFacts | undefined;
  if (leaf !== undefined) {
    facts = checkLeaf(leaf, found);
    checkTimes(chain, nowMs, found);
    checkOrder(chain, found);
    if (key !== undefined) checkPair(chain, key, found);
  }
  if (found.faults.length > 0 || facts === undefined || key === undefined) {
    return { kind: 'faulty', faults: found.faults };
  }
  return { kind: 'good', chain: sent(chain), key: derOf(key), facts };
}

/** PEM. Clients have the root, or do not trust it: it is not sent. */
function sent(chain: readonly X509Certificate[]): string {
  return chain
    .filter((certificate, at) => at === 0 || !isSelfSigned(certificate))
    .map(String)
    .join('');
}

function readChain(text: string, found: Found): X509Certificate[] {
  if (text.length > CERTIFICATE_LIMITS.chainBytes) {
    const most = CERTIFICATE_LIMITS.chainBytes;
    found.add('chain', `it has more than ${most} bytes`, 'give the certificate and those of its issuers alone');
    return [];
  }
  const blocks = text.match(PEM) ?? [];
  if (blocks.length === 0) found.add('chain', 'there is no certificate in PEM', 'give "-----BEGIN CERTIFICATE-----"');
  if (blocks.length > CHAIN_MAX) {
    found.add('chain', `it has ${blocks.length} certificates, more than ${CHAIN_MAX}`, 'give one chain, not a bundle');
    return [];
  }
  const read = blocks.map((block, at) => {
    try {
      if (block.length > CERTIFICATE_MAX_BYTES) throw new RangeError('too large');
      const certificate = new X509Certificate(block);
      factsOf(certificate);
      return certificate;
    } catch {
      found.add(`chain[${at}]`, 'it is no X.509 certificate that can be read', 'export it again, in PEM');
      return undefined;
    }
  });
  return read.every((certificate) => certificate !== undefined) ? read : [];
}

function readKey(bytes: Uint8Array, found: Found): KeyObject | undefined {
  if (bytes.length > CERTIFICATE_LIMITS.keyBytes) {
    found.add('private_key', `it has more than ${CERTIFICATE_LIMITS.keyBytes} bytes`, 'give the private key alone');
    return undefined;
  }
  const text = Buffer.from(bytes).toString('latin1');
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    found.add('private_key', 'it is sealed by a passphrase', 'open it first: marcher does with --passphrase-file');
    return undefined;
  }
  const key = text.includes('-----BEGIN') ? attempt(() => createPrivateKey(text)) : derKey(bytes);
  if (key === undefined) {
    found.add('private_key', 'it is no private key that can be read', 'give PEM, or PKCS #8 in DER');
    return undefined;
  }
  const { namedCurve = '', modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const type = key.asymmetricKeyType;
  const allowed =
    type === 'ed25519' ||
    (type === 'ec' && namedCurve in CURVES) ||
    (type === 'rsa' && modulusLength >= RSA_MIN_BITS && modulusLength <= RSA_MAX_BITS);
  if (!allowed) found.add('private_key', `its kind is ${keyTypeOf(key)}`, `have one made of: ${ALLOWED}`);
  return key;
}

function derKey(bytes: Uint8Array): KeyObject | undefined {
  const key = Buffer.from(bytes);
  return attempt(() => createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
}

/** What OpenSSL says of a key is not passed on: it could quote from it. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

function checkLeaf(leaf: X509Certificate, found: Found): ChainFacts | undefined {
  const facts = attempt(() => chainFacts(leaf));
  if (facts === undefined) {
    found.add('chain[0]', 'its names or its key can not be read', 'have another one made');
    return undefined;
  }
  if (facts.leaf.isAuthority) {
    const fix = "put the service's own first; one that signs itself needs basicConstraints=CA:FALSE";
    found.add('chain[0]', "it is a CA's certificate", fix);
  }
  if (facts.names.length === 0) {
    const fix = 'have one made with subjectAltName; clients do not look at the common name';
    found.add('chain[0]', 'it has no DNS name and no IP address as a subject alternative name', fix);
  }
  if (facts.roles.length === 0) {
    found.add(
      'chain[0]',
      'it is neither for servers nor for clients',
      'have one made with extendedKeyUsage serverAuth',
    );
  }
  return facts;
}

function checkTimes(chain: readonly X509Certificate[], nowMs: number, found: Found): void {
  for (const [at, certificate] of chain.entries()) {
    const [notBeforeMs, notAfterMs] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
    const state = validityAt({ notBeforeMs, notAfterMs }, nowMs);
    const day = (ms: number): string => new Date(ms).toISOString();
    if (state === 'expired') found.add(`chain[${at}]`, `it expired at ${day(notAfterMs)}`, 'renew it');
    if (state === 'not-yet-valid') {
      found.add(`chain[${at}]`, `it is valid from ${day(notBeforeMs)}`, 'import it then, or compare the clocks');
    }
    if (WEAK.test(certificate.signatureAlgorithm ?? '') && !isSelfSigned(certificate)) {
      const how = certificate.signatureAlgorithm;
      found.add(`chain[${at}]`, `it is signed by ${how}, which can be forged`, 'have it signed with SHA-256 or better');
    }
  }
}

/** Each must have signed the one before; the last is a root, or is signed by one that everybody has. */
function checkOrder(chain: readonly X509Certificate[], found: Found): void {
  for (const [at, certificate] of chain.entries()) {
    const next = chain[at + 1];
    if (next === undefined) {
      if (isSelfSigned(certificate) || isOfPublicRoot(certificate)) return;
      const issuer = lineOf(certificate.issuer);
      const fix = 'append the certificate of that CA (--chain), also where it is a root of your own';
      found.add('chain', `it ends with one that ${issuer} has signed, which is not there`, fix);
    } else if (!hasSigned(next, certificate)) {
      const right = chain.findIndex((other) => other !== certificate && hasSigned(other, certificate));
      const issuer = lineOf(certificate.issuer);
      if (right >= 0) {
        const fix = 'order them: the certificate, then its issuer, then the issuer of that';
        found.add(`chain[${at}]`, `it was signed by chain[${right}], and chain[${at + 1}] follows it`, fix);
      } else {
        const fix = 'put the certificate of that CA between them (--chain)';
        found.add(`chain[${at}]`, `it was signed by ${issuer}, and chain[${at + 1}] is another`, fix);
      }
      return;
    } else if (!next.ca) {
      found.add(`chain[${at + 1}]`, 'it has signed the one before, and is not a CA', "give the CA's certificate");
    }
  }
}

function checkPair(chain: readonly X509Certificate[], key: KeyObject, found: Found): void {
  const at = chain.findIndex((certificate) => attempt(() => certificate.checkPrivateKey(key)) === true);
  if (at === 0) return;
  if (at > 0) {
    found.add('private_key', `it is the key of chain[${at}], not of chain[0]`, "put the key's certificate first");
  } else {
    found.add('private_key', 'it is not the key of chain[0]', 'give the key with which that certificate was requested');
  }
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return hasSigned(certificate, certificate);
}

function hasSigned(issuer: X509Certificate, certificate: X509Certificate): boolean {
  // checkIssued() asks for key usages of CAs, which a certificate that signs only itself need not have.
  const named = certificate.issuer === issuer.subject;
  return named && attempt(() => certificate.verify(issuer.publicKey)) === true;
}

let roots: ReadonlyMap<string, readonly X509Certificate[]> | undefined;

/** Of the CAs that Node.js knows, which are Mozilla's. Read when the first is asked for: that takes some 20 ms. */
function isOfPublicRoot(certificate: X509Certificate): boolean {
  roots ??= Map.groupBy(
    rootCertificates.map((pem) => new X509Certificate(pem)),
    ({ subject }) => subject,
  );
  return (roots.get(certificate.issuer) ?? []).some((root) => hasSigned(root, certificate));
}

function lineOf(name: string): string {
  return JSON.stringify(name.split('\n').join(', ').slice(0, 200));
}

function derOf(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: 'der', type: 'pkcs8' }));
}
