// SPDX-License-Identifier: Apache-2.0
/**
 * A mesh's CA: a self-signed root of P-384 that signs leaves directly (path length 0) or, where its own root is kept offline, an
 * intermediate of it (intermediate.ts). By their name constraints they can name nodes and users of their own mesh only; names of hosts,
 * which services have, are not constrained. What goes into certificates is decided in domain/identity/issue.ts.
 */
import { getRandomValues, webcrypto, X509Certificate } from 'node:crypto';
import { caCertificate, keyIdOf } from '@marcher/ca/certificate';
import * as x509 from '@marcher/ca/x509';
import { SERIAL_BYTES, serialFrom } from '../../../domain/identity/certificate.js';
import {
  clientProfile,
  type IssueVerdict,
  type Mesh,
  meshNameFault,
  nodeProfile,
  serviceProfile,
} from '../../../domain/identity/issue.js';
import { LIFETIME, validityFrom } from '../../../domain/identity/lifetime.js';
import { isMeshId } from '../../../domain/identity/names.js';
import { type CertificateAuthority, IdentityError, type IssuedCertificate } from '../../../ports/identity.js';
import { factsOf, parseCertificate, readCertificate } from './certificate-facts.js';
import { meshNamedBy, meshOf } from './certificate-mesh.js';
import { checkNodeRequest } from './node-request.js';
import { signRevocations } from './revocation-list.js';
import { signStatement } from './root-statements.js';

export interface CreatedAuthority {
  readonly pem: string;
  /** PKCS #8, DER: for authority-file.ts to seal. */
  readonly privateKey: Uint8Array;
  /** PEM, of an intermediate: its offline root. */
  readonly issuers?: string;
}

const EXTENDED_USAGE = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth } as const;

/** Fails as IdentityError "invalid" when the mesh's id or name is none. */
export async function createAuthority(mesh: Mesh, nowMs: number): Promise<CreatedAuthority> {
  const fault = isMeshId(mesh.id) ? meshNameFault(mesh.name) : 'a mesh id is 32 hex digits';
  if (fault !== undefined) throw new IdentityError('invalid', fault);
  const keys = await webcrypto.subtle.generateKey(x509.KEY_ALGORITHM, true, ['sign', 'verify']);
  const validity = validityFrom(nowMs, LIFETIME.rootMs);
  const names = { meshId: mesh.id, meshName: mesh.name };
  const subject = { ...names, publicKey: keys.publicKey, pathLength: 0, ...validity };
  const root = await caCertificate(subject, undefined, keys.privateKey);
  const privateKey = new Uint8Array(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { pem: `${root.toString('pem')}\n`, privateKey };
}

/**
 * Fails as IdentityError "invalid" when the key is not that of the certificate, or that is neither a mesh's root nor, with its
 * issuers, an intermediate of one.
 */
export async function openAuthority({
  pem,
  privateKey,
  issuers = '',
}: CreatedAuthority): Promise<CertificateAuthority> {
  const mesh = issuers === '' ? meshOf(pem) : intermediateMesh(pem, issuers);
  const certificate = readCertificate(pem);
  const parsed = new x509.X509Certificate(pem);
  const signingKey = await importKey(privateKey);
  await proveKey(signingKey, parsed);
  const root = { certificate, issuer: parsed.subjectName, signingKey, publicKey: parsed.publicKey };
  const issue = async (request: string | Uint8Array, verdict: IssueVerdict): Promise<IssuedCertificate> => {
    if (verdict.kind === 'refused') throw new IdentityError('refused', verdict.reason);
    const publicKey = await checkNodeRequest(request);
    const { organization, commonName, uri, validity, roles, names } = verdict.profile;
    const issued = await x509.X509CertificateGenerator.create({
      serialNumber: hexOf(newSerial()),
      subject: [{ O: [organization] }, { CN: [commonName] }],
      issuer: parsed.subjectName,
      notBefore: new Date(validity.notBeforeMs),
      notAfter: new Date(validity.notAfterMs),
      publicKey,
      signingKey,
      signingAlgorithm: x509.SIGNATURE_ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(roles.map((role) => EXTENDED_USAGE[role])),
        new x509.SubjectAlternativeNameExtension([
          { type: x509.URL, value: uri },
          ...(names?.dns ?? []).map((value) => ({ type: x509.DNS, value }) as const),
          ...(names?.addresses ?? []).map((value) => ({ type: x509.IP, value }) as const),
        ]),
        new x509.SubjectKeyIdentifierExtension(await keyIdOf(publicKey)),
        new x509.AuthorityKeyIdentifierExtension(certificate.keyId),
      ],
    });
    const leaf = `${issued.toString('pem')}\n`;
    return { pem: leaf + pem + issuers, certificate: factsOf(new X509Certificate(leaf)) };
  };
  return {
    mesh,
    certificate,
    pem,
    issuers,
    issueNode: async (request, nodeId, revocations, nowMs) =>
      await issue(request, nodeProfile(mesh, nodeId, certificate, revocations, nowMs)),
    issueClient: async (request, client, nowMs) =>
      await issue(request, clientProfile(mesh, client, certificate, nowMs)),
    issueService: async (request, service, nowMs) =>
      await issue(request, serviceProfile(mesh, service, certificate, nowMs)),
    signRevocations: (revocations, number, nowMs) => signRevocations(root, revocations, number, nowMs),
    say: (statement) => signStatement(root, mesh.id, statement),
  };
}

function intermediateMesh(pem: string, issuers: string): Mesh {
  const certificate = parseCertificate(pem);
  const root = parseCertificate(issuers);
  const mesh = meshNamedBy(certificate);
  if (mesh === undefined || meshOf(issuers).id !== mesh.id || !certificate.verify(root.publicKey)) {
    throw new IdentityError('invalid', 'it is not an intermediate of the root that is with it');
  }
  return mesh;
}

function newSerial(): string {
  return serialFrom(getRandomValues(new Uint8Array(SERIAL_BYTES)));
}

function hexOf(serial: string): string {
  return serial.length % 2 === 0 ? serial : `0${serial}`;
}

async function importKey(privateKey: Uint8Array): Promise<webcrypto.CryptoKey> {
  try {
    const bytes = Uint8Array.from(privateKey);
    return await webcrypto.subtle.importKey('pkcs8', bytes, x509.KEY_ALGORITHM, false, ['sign']);
  } catch {
    throw new IdentityError('invalid', "the CA's key is not a P-384 key");
  }
}

/** Signs something, as there is no other way to ask a key that can't be exported whether it is the right one. */
async function proveKey(signingKey: webcrypto.CryptoKey, root: x509.X509Certificate): Promise<void> {
  const text = new TextEncoder().encode('marcher');
  const publicKey = await root.publicKey.export(x509.KEY_ALGORITHM, ['verify']);
  const signature = await webcrypto.subtle.sign(x509.SIGNATURE_ALGORITHM, signingKey, text);
  if (!(await webcrypto.subtle.verify(x509.SIGNATURE_ALGORITHM, publicKey, signature, text))) {
    throw new IdentityError('invalid', "the CA's key is not that of its certificate");
  }
}
