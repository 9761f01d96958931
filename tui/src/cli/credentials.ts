// SPDX-License-Identifier: Apache-2.0
/**
 * What `marcher` shows to an agent on another machine, and knows it by: files that flags or variables name. Secrets come
 * from files that nobody else can read, never from the command line, which every user of the machine sees.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Credentials } from '@marcher/client';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';

export interface CredentialOptions {
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly tokenFile?: string;
  readonly nodeId?: string;
}

export const CREDENTIAL_VARIABLES = {
  caFile: 'MARCHER_CA_FILE',
  certFile: 'MARCHER_CERT_FILE',
  keyFile: 'MARCHER_KEY_FILE',
  tokenFile: 'MARCHER_TOKEN_FILE',
} as const;

const FLAGS: Readonly<Record<keyof CredentialOptions, string>> = {
  caFile: '--ca-file',
  certFile: '--cert-file',
  keyFile: '--key-file',
  tokenFile: '--token-file',
  nodeId: '--node-id',
};
/** Bundles of public CAs are some 200 KiB. */
const CA_MAX_BYTES = 1 << 20;
const FILE_MAX_BYTES = 65_536;
/** RFC 6750, 2.1. */
const TOKEN = /^[A-Za-z0-9._~+/-]{1,4096}=*$/;
const OTHERS = 0o077;

/** For targets on this machine, which ask for none, a flag is a mistake; a variable may be set for others. */
export function refuseCredentials(options: CredentialOptions): void {
  for (const [name, flag] of Object.entries(FLAGS)) {
    if (options[name as keyof CredentialOptions] === undefined) continue;
    throw usage(`${flag} is for an agent on another machine: name it with --target https://HOST:PORT`);
  }
}

/** Fails as Failure. */
export function readCredentials(
  options: CredentialOptions,
  environment: Readonly<Record<string, string | undefined>>,
  nowMs: number,
): Credentials {
  const path = (name: keyof typeof CREDENTIAL_VARIABLES): string | undefined =>
    options[name] ?? (environment[CREDENTIAL_VARIABLES[name]] || undefined);
  const { nodeId } = options;
  if (nodeId !== undefined && !/^[0-9a-f]{16}$/.test(nodeId)) {
    throw usage(`--node-id is "${nodeId.slice(0, 80)}": expected 16 hex digits, as marcher mesh members shows`);
  }
  const [caFile, certFile, keyFile, tokenFile] = [path('caFile'), path('certFile'), path('keyFile'), path('tokenFile')];
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw usage('a certificate and its key go together: give both --cert-file and --key-file');
  }
  const ca = caFile === undefined ? undefined : read(caFile, CA_MAX_BYTES);
  if (caFile !== undefined) parsed(caFile, 'no certificate in PEM', () => new X509Certificate(ca ?? ''));
  return {
    ...(nodeId === undefined ? {} : { nodeId }),
    ...(ca === undefined ? {} : { ca }),
    ...(certFile === undefined || keyFile === undefined ? {} : readPair(certFile, keyFile, nowMs)),
    ...(tokenFile === undefined ? {} : { token: readToken(tokenFile) }),
  };
}

function readPair(
  certFile: string,
  keyFile: string,
  nowMs: number,
): Required<Pick<Credentials, 'certificate' | 'privateKey'>> {
  const certificate = read(certFile, FILE_MAX_BYTES);
  const privateKey = readSecret(keyFile);
  const leaf = parsed(certFile, 'no certificate in PEM', () => new X509Certificate(certificate));
  const key = parsed(keyFile, 'no private key in PEM without a passphrase', () => createPrivateKey(privateKey));
  if (!leaf.checkPrivateKey(key)) throw failure(`${keyFile} is not the key of the certificate in ${certFile}`);
  if (leaf.validToDate.getTime() < nowMs) {
    const fix = 'have another issued: marcher mesh certificate issue USER';
    throw new Failure(ExitCode.denied, `your certificate in ${certFile} has expired on ${leaf.validTo}; ${fix}`);
  }
  return { certificate, privateKey };
}

function readToken(path: string): string {
  const token = readSecret(path).trim();
  if (!TOKEN.test(token)) throw failure(`${path} has no token: expected one line with it`);
  return token;
}

function readSecret(path: string): string {
  return read(path, FILE_MAX_BYTES, true);
}

function read(path: string, maxBytes: number, secret = false): string {
  // A pipe has no end of what could be read, and would be waited for.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw failure(`${path} is not a file`);
    if (secret && (stat.mode & OTHERS) !== 0) {
      throw failure(`others can read ${path}, which has a secret: chmod 600 ${path}, and think of having it replaced`);
    }
    const buffer = Buffer.alloc(Math.min(stat.size, maxBytes) + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = readSync(file, buffer, length, buffer.length - length, null);
    }
    if (length > maxBytes) throw failure(`${path} is larger than ${maxBytes} bytes: is it the right file?`);
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
    throw failure(`${path} has ${what}`);
  }
}

function failure(message: string): Failure {
  return new Failure(ExitCode.error, message);
}
