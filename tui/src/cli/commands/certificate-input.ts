// SPDX-License-Identifier: Apache-2.0
/**
 * A certificate and its key as they come in files. A key that is sealed by a passphrase is opened here: the passphrase is in no
 * message. What OpenSSL says of a key is not passed on, as it could quote from it.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----[\s\S]+?-----END \1-----/;
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;
const FILE_MAX_BYTES = 262_144;
const OTHERS = 0o077;

/** PEM blocks; a file without one is taken for DER. */
export function readCertificates(path: string): string[] {
  const bytes = readBounded(path);
  const blocks = bytes.toString('latin1').match(CERTIFICATE);
  if (blocks !== null) return blocks.map((block) => block.replaceAll('\r\n', '\n'));
  try {
    return [new X509Certificate(bytes).toString().trimEnd()];
  } catch {
    throw usage(`${path} has no certificate: expected PEM or DER`);
  }
}

export function isOpenToOthers(path: string): boolean {
  return (statSync(path).mode & OTHERS) !== 0;
}

/** Whether a passphrase opens it. */
export function isSealed(path: string): boolean {
  const block = blockOf(readBounded(path));
  return block !== undefined && ENCRYPTED.test(block);
}

/** Fails as Failure. passphrase: undefined where none is known. */
export function openKey(path: string, passphrase: string | undefined): KeyObject {
  const bytes = readBounded(path);
  const block = blockOf(bytes);
  if (block !== undefined && ENCRYPTED.test(block)) {
    if (passphrase === undefined) throw usage(`${path} has a key that a passphrase opens, and none was given`);
    try {
      return createPrivateKey({ key: block, passphrase });
    } catch {
      throw new Failure(ExitCode.error, `${path} does not open with that passphrase; nothing was changed`);
    }
  }
  try {
    if (block !== undefined) return createPrivateKey(block);
    return createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' });
  } catch {
    throw usage(`${path} has no private key that can be read: expected PEM, or PKCS #8 in DER`);
  }
}

function blockOf(bytes: Buffer): string | undefined {
  return PRIVATE_KEY.exec(bytes.toString('latin1'))?.[0];
}

function readBounded(path: string): Buffer {
  if (statSync(path).size > FILE_MAX_BYTES) throw usage(`${path} is larger than ${FILE_MAX_BYTES} bytes`);
  return readFileSync(path);
}
