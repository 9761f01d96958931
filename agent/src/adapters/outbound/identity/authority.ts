// SPDX-License-Identifier: Apache-2.0
/**
 * A mesh's CA: a self-signed root of P-384 that signs leaves directly (path length 0) and, by its name constraints, can
 * name nodes and users of its own mesh only; names of hosts, which services have, are not constrained. What goes into certificates is decided in domain/identity/issue.ts.
 */
import { getRandomValues, webcrypto, X509Certificate } from 'node:crypto';
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
import { isMeshId, meshUri, parseMeshUri } from '../../../domain/identity/names.js';
import { type CertificateAuthority, IdentityError, type IssuedCertificate } from '../../../ports/identity.js';
import { factsOf, parseCertificate, readCertificate } from './certificate-facts.js';
import { permittedUriHost } from './der.js';
import { checkNodeRequest } from './node-request.js';
import { signRevocations } from './revocation-list.js';
import { signStatement } from './root-statements.js';
import * as x509 from './x509.js';

export interface CreatedAuthority {
  readonly pem: string;
  /** PKCS #8, DER: for authority-file.ts to seal. */
  readonly privateKey: Uint8Array;
}

const NAME_CONSTRAINTS = '2.5.29.30';
const EXTENDED_USAGE = { server: x509.ExtendedKeyUsage.serverAuth, client: x509.ExtendedKeyUsage.clientAuth } as const;

/** Fails as IdentityError "invalid" when the mesh's id or name is none. */
export async function createAuthority(mesh: Mesh, nowMs: number): Promise<CreatedAuthority> {
  const fault = isMeshId(mesh.id) ? meshNameFault(mesh.name) : 'a mesh id is 32 hex digits';
  if (fault !== undefined) throw new IdentityError('invalid', fault);
  const keys = await webcrypto.subtle.generateKey(x509.KEY_ALGORITHM, true, ['sign', 'verify']);
  const keyId = await keyIdOf(keys.publicKey);
  const { notBeforeMs, notAfterMs } = validityFrom(nowMs, LIFETIME.rootMs);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: hexOf(newSerial()),
    // Two roots of one mesh are told apart by name as well: verifiers look for issuers by it first.
    name: [{ O: [mesh.name] }, { CN: [`Marcher mesh CA ${keyId.slice(0, 16)}`] }],
    notBefore: new Date(notBeforeMs),
    notAfter: new Date(notAfterMs),
    keys,
    signingAlgorithm: x509.SIGNATURE_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectKeyIdentifierExtension(keyId),
      new x509.SubjectAlternativeNameExtension([{ type: x509.URL, value: meshUri(mesh.id) }]),
      new x509.Extension(NAME_CONSTRAINTS, true, permittedUriHost(mesh.id)),
    ],
  });
  const privateKey = new Uint8Array(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { pem: `${root.toString('pem')}\n`, privateKey };
}

/** A root certificate's mesh. Fails as IdentityError "invalid" when it is not the root of one. */
export function meshOf(pem: string): Mesh {
  const certificate = parseCertificate(pem);
  const { uris, isAuthority } = factsOf(certificate);
  const id = parseMeshUri(uris[0] ?? '');
  const name = /^O=(.*)$/m.exec(certificate.subject)?.[1] ?? '';
  if (!isAuthority || id === undefined || !certificate.verify(certificate.publicKey)) {
    throw new IdentityError('invalid', 'it is not the root certificate of a mesh');
  }
  return { id, name };
}

/** Fails as IdentityError "invalid" when the key is not that of the certificate, or that is not a mesh's root. */
export async function openAuthority({ pem, privateKey }: CreatedAuthority): Promise<CertificateAuthority> {
  const mesh = meshOf(pem);
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
    return { pem: leaf + pem, certificate: factsOf(new X509Certificate(leaf)) };
  };
  return {
    mesh,
    certificate,
    pem,
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

/** The leftmost 160 bits of the SHA-256 of the public key (RFC 7093, method 1), in hex. */
async function keyIdOf(publicKey: webcrypto.CryptoKey): Promise<string> {
  const point = await webcrypto.subtle.exportKey('raw', publicKey);
  const digest = await webcrypto.subtle.digest('SHA-256', point);
  return Buffer.from(digest, 0, 20).toString('hex');
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
