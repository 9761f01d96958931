// SPDX-License-Identifier: Apache-2.0
/** Reads certificates: parsed by OpenSSL, then what OpenSSL does not tell by the library. */
import { X509Certificate } from 'node:crypto';
import * as x509 from '@marcher/ca/x509';
import { type CertificateFacts, canonicalSerial } from '../../../domain/identity/certificate.js';
import { IdentityError } from '../../../ports/identity.js';

export const CERTIFICATE_MAX_BYTES = 16_384;
/** A mesh of a thousand shows as many, each many times; what is remembered of one is about 1 KiB. */
const REMEMBERED_MAX = 2_048;
/** So that strangers' certificates, which are read before they are refused, take no more. */
const REMEMBERED_MAX_BYTES = 2_048;

interface NamedFacts {
  readonly facts: CertificateFacts;
  readonly names: readonly { readonly type: string; readonly value: string }[];
}

/** By SHA-256 of the certificate, the oldest first. */
const remembered = new Map<string, NamedFacts>();

/** PEM (the first certificate in it) or DER. Fails as IdentityError "invalid". */
export function readCertificate(text: string | Uint8Array): CertificateFacts {
  return factsOf(parseCertificate(text));
}

export function parseCertificate(text: string | Uint8Array): X509Certificate {
  if (text.length > CERTIFICATE_MAX_BYTES) {
    throw new IdentityError('invalid', `the certificate is larger than ${CERTIFICATE_MAX_BYTES} bytes`);
  }
  try {
    return new X509Certificate(text);
  } catch {
    throw new IdentityError('invalid', 'it is not an X.509 certificate: expected PEM or DER');
  }
}

export function factsOf(certificate: X509Certificate): CertificateFacts {
  return namedFactsOf(certificate).facts;
}

/** With all of its subject alternative names. The library takes milliseconds for what it reads, so each is read once. */
export function namedFactsOf(certificate: X509Certificate): NamedFacts {
  const fingerprint = certificate.fingerprint256;
  const known = remembered.get(fingerprint);
  if (known !== undefined) return known;
  const read = readNamedFacts(certificate);
  if (certificate.raw.length > REMEMBERED_MAX_BYTES) return read;
  const [oldest] = remembered.keys();
  if (remembered.size >= REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
  remembered.set(fingerprint, read);
  return read;
}

function readNamedFacts(certificate: X509Certificate): NamedFacts {
  try {
    const parsed = new x509.X509Certificate(certificate.raw);
    const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
    const facts = {
      serial: canonicalSerial(certificate.serialNumber),
      fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
      keyId: (parsed.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId ?? '').toLowerCase(),
      issuerKeyId: (parsed.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId ?? '').toLowerCase(),
      notBeforeMs: certificate.validFromDate.getTime(),
      notAfterMs: certificate.validToDate.getTime(),
      uris: names.filter(({ type }) => type === x509.URL).map(({ value }) => value),
      isAuthority: certificate.ca,
      signsAuthorities: certificate.ca && parsed.getExtension(x509.BasicConstraintsExtension)?.pathLength !== 0,
      usages: certificate.keyUsage ?? [],
      curve: certificate.publicKey.asymmetricKeyDetails?.namedCurve ?? '',
    };
    return { facts, names };
  } catch {
    throw new IdentityError('invalid', 'the certificate has an extension or a key that can not be read');
  }
}
