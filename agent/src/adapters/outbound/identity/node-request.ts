// SPDX-License-Identifier: Apache-2.0
/** A node's key, made where it stays, and the request (PKCS #10) by which a CA learns its public half. */
import { createPrivateKey, webcrypto } from 'node:crypto';
import * as x509 from '@marcher/ca/x509';
import { IdentityError } from '../../../ports/identity.js';

export interface NodeRequest {
  /** PKCS #8. It is for this node's disk only. */
  readonly privateKeyPem: string;
  /** PEM, to be sent. */
  readonly request: string;
}

const REQUEST_MAX_BYTES = 8_192;

/** Also to renew: each certificate has a key of its own. */
export async function createNodeRequest(): Promise<NodeRequest> {
  const keys = await webcrypto.subtle.generateKey(x509.KEY_ALGORITHM, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: x509.SIGNATURE_ALGORITHM,
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const privateKeyPem = createPrivateKey({ key, format: 'der', type: 'pkcs8' }).export({
    format: 'pem',
    type: 'pkcs8',
  });
  return { privateKeyPem: privateKeyPem.toString(), request: `${request.toString('pem')}\n` };
}

/**
 * The public key of a request that was signed by its other half. Everything else in it is left aside. Fails as
 * IdentityError "invalid"; to be asked before a token is spent.
 */
export async function checkNodeRequest(request: string | Uint8Array): Promise<webcrypto.CryptoKey> {
  if (request.length > REQUEST_MAX_BYTES) {
    throw invalid(`it is larger than ${REQUEST_MAX_BYTES} bytes`);
  }
  let parsed: x509.Pkcs10CertificateRequest;
  let key: { readonly name: string; readonly namedCurve?: string };
  let hash: string;
  try {
    parsed = new x509.Pkcs10CertificateRequest(request);
    key = parsed.publicKey.algorithm;
    hash = parsed.signatureAlgorithm.hash.name;
  } catch {
    throw invalid('expected PKCS #10, as PEM or DER');
  }
  if (key.namedCurve !== 'P-384') throw invalid('its key is not of curve P-384');
  if (hash !== 'SHA-384') throw invalid('it is not signed by ECDSA with SHA-384');
  let verified: boolean;
  let publicKey: webcrypto.CryptoKey;
  try {
    verified = await parsed.verify();
    publicKey = await parsed.publicKey.export(x509.KEY_ALGORITHM, ['verify']);
  } catch {
    throw invalid('its key or signature can not be read');
  }
  if (!verified) throw invalid('its signature is not that of its key');
  return publicKey;
}

function invalid(reason: string): IdentityError {
  return new IdentityError(
    'invalid',
    `the certificate request is refused: ${reason}; make it with this version of marcher`,
  );
}
