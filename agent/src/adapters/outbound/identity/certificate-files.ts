// SPDX-License-Identifier: Apache-2.0
/**
 * A certificate of the operator's own in two PEM files, which something else renews: looked at every second, and taken when
 * both fit together. Until then, and while anything is wrong with them, what was read before stays in force.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { validityAt } from '../../../domain/identity/lifetime.js';
import { IdentityError, type NodeCredentials } from '../../../ports/identity.js';

export interface CertificatePaths {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateFilesHandlers {
  changed(credentials: NodeCredentials): void;
  /** Why the files as they are now are not used; undefined: they are. Called when that changes. */
  fault(reason: string | undefined): void;
}

const LOOK_MS = 1_000;
/** A chain of several certificates takes some thousand bytes each. */
const FILE_MAX_BYTES = 65_536;
/** Certificates are kept in groups such as ssl-cert; a key that everybody can read is none. */
const EVERYBODY = 0o007;

/** Fails as IdentityError that says which file. */
export function readCertificateFiles({ certificate, key }: CertificatePaths, nowMs: number): NodeCredentials {
  const certificatePem = read(certificate, false);
  const privateKeyPem = read(key, true);
  const leaf = parsed(certificate, 'no X.509 certificate in PEM', () => new X509Certificate(certificatePem));
  const privateKey = parsed(key, 'no private key in PEM without a passphrase', () => createPrivateKey(privateKeyPem));
  if (!leaf.checkPrivateKey(privateKey)) {
    throw new IdentityError('invalid', `${key} is not the key of the certificate in ${certificate}`);
  }
  const validity = { notBeforeMs: leaf.validFromDate.getTime(), notAfterMs: leaf.validToDate.getTime() };
  const state = validityAt(validity, nowMs);
  if (state !== 'valid') {
    const when = state === 'expired' ? `expired on ${leaf.validTo}` : `is valid from ${leaf.validFrom}`;
    throw new IdentityError('invalid', `the certificate in ${certificate} ${when}: renew it, or set the clock`);
  }
  return { certificatePem, privateKeyPem };
}

export class CertificateFiles {
  readonly #paths: CertificatePaths;
  readonly #handlers: CertificateFilesHandlers;
  readonly #nowMs: () => number;
  #current: NodeCredentials;
  /** Of the files, when they were last read. */
  #seen: string;
  /** When they were last found wrong. */
  #doubted = '';
  #fault: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Fails as IdentityError when there is nothing to begin with. */
  constructor(paths: CertificatePaths, handlers: CertificateFilesHandlers, nowMs: () => number) {
    this.#paths = paths;
    this.#handlers = handlers;
    this.#nowMs = nowMs;
    this.#seen = this.#mark();
    this.#current = readCertificateFiles(paths, nowMs());
  }

  get current(): NodeCredentials {
    return this.#current;
  }

  start(everyMs: number = LOOK_MS): void {
    this.#timer ??= setInterval(() => this.look(), everyMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  look(): void {
    const mark = this.#mark();
    if (mark === this.#seen) return;
    try {
      const read = readCertificateFiles(this.#paths, this.#nowMs());
      this.#current = read;
      this.#seen = mark;
      this.#handlers.changed(read);
      this.#say(undefined);
    } catch (error) {
      // The first time, the other file may just not be there yet.
      if (mark === this.#doubted) {
        this.#seen = mark;
        this.#say(error instanceof Error ? error.message : String(error));
      }
    }
    this.#doubted = mark;
  }

  #say(fault: string | undefined): void {
    if (fault === this.#fault) return;
    this.#fault = fault;
    this.#handlers.fault(fault);
  }

  /** Through symlinks: what is replaced is as often the link, or a directory on the way. */
  #mark(): string {
    return [this.#paths.certificate, this.#paths.key]
      .map((path) => {
        const stat = statSync(path, { throwIfNoEntry: false });
        return stat === undefined ? '-' : `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`;
      })
      .join(', ');
  }
}

function read(path: string, secret: boolean): string {
  let file: number;
  try {
    // A pipe would otherwise be waited for.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'io';
    throw new IdentityError(code, `${path} can't be read: ${(error as Error).message}`);
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new IdentityError('invalid', `${path} is not a file`);
    if (secret && (stat.mode & EVERYBODY) !== 0) {
      throw new IdentityError('permissions', `${path} has a private key that every user can read: chmod o= ${path}`);
    }
    const buffer = Buffer.alloc(FILE_MAX_BYTES + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = readSync(file, buffer, length, buffer.length - length, null);
    }
    if (length > FILE_MAX_BYTES) throw new IdentityError('limit', `${path} is larger than ${FILE_MAX_BYTES} bytes`);
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

/** What OpenSSL says of a key is not passed on: it could quote from it. */
function parsed<T>(path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw new IdentityError('invalid', `${path} has ${what}`);
  }
}
