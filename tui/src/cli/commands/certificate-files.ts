// SPDX-License-Identifier: Apache-2.0
/** Certificates of services from files and into files. */
import type { KeyObject } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { printable } from '../output/style.js';
import { askSecret, readSecretFile } from '../secret-input.js';
import type { Session, TargetOptions } from '../session.js';
import { isOpenToOthers, isSealed, openKey, readCertificates } from './certificate-input.js';
import { certificateOf, tellWritten } from './certificates.js';
import { asked } from './mesh.js';
import type { TextOptions } from './users.js';

interface ImportOptions extends TextOptions {
  readonly certificate: string;
  readonly privateKey: string;
  readonly chain?: string;
  readonly passphraseFile?: string;
  readonly replace?: boolean;
}

export async function importCertificate(session: Session, options: ImportOptions, name: string): Promise<undefined> {
  const files = [options.certificate, ...(options.chain === undefined ? [] : [options.chain])];
  // A full chain beside a chain file is no fault: each is sent once.
  const blocks = [...new Set(files.flatMap(readCertificates))];
  const key = await keyOf(options);
  const privateKey = new Uint8Array(key.export({ format: 'der', type: 'pkcs8' }));
  const request = { name, chain: `${blocks.join('\n')}\n`, privateKey, replace: options.replace === true };
  const agent = await session.agent(options);
  const answer = await agent.certificates.importCertificate(request, session.call(options));
  privateKey.fill(0);
  const certificate = certificateOf(answer);
  await tellWritten(session, options, 'Imported', certificate);
  process.stderr.write('It is not renewed by itself: import the next one with --replace.\n');
}

export async function exportCertificate(
  session: Session,
  options: TargetOptions & { readonly certificate?: string; readonly privateKey?: string; readonly force?: boolean },
  name: string,
): Promise<undefined> {
  const { certificate, privateKey, force = false } = options;
  const agent = await session.agent(options);
  const call = session.call(options);
  for (const path of [certificate, privateKey]) if (path !== undefined && !force) refuseExisting(path);
  if (privateKey === undefined) {
    const { chain } = await asked(agent.certificates.getCertificate({ name }, call));
    if (certificate === undefined) await session.write(chain);
    else writeWhole(certificate, chain, 0o644, force);
    return;
  }
  // Both of one answer: the certificate may be renewed at any time.
  const given = await asked(agent.certificates.exportPrivateKey({ name }, call));
  writeWhole(privateKey, given.privateKey, 0o600, force);
  if (certificate === undefined) await session.write(given.chain);
  else writeWhole(certificate, given.chain, 0o644, force);
  process.stderr.write(`The key of ${printable(name)} is in ${printable(privateKey)}, and that is in the audit log.\n`);
}

async function keyOf({ privateKey: path, passphraseFile }: ImportOptions): Promise<KeyObject> {
  if (isOpenToOthers(path)) {
    process.stderr.write(`Others can read ${printable(path)}, which has a private key: chmod 600 ${printable(path)}\n`);
  }
  if (!isSealed(path)) return openKey(path, undefined);
  const option = 'give --passphrase-file';
  const passphrase =
    passphraseFile === undefined ? await askSecret(`Passphrase of ${path}`, option) : readSecretFile(passphraseFile);
  return openKey(path, passphrase);
}

function refuseExisting(path: string): void {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return;
  throw new Failure(ExitCode.error, `${path} exists: move it away, or give --force`);
}

/** Whole or not at all. */
function writeWhole(path: string, text: string, mode: number, force: boolean): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  try {
    const file = openSync(temporary, 'wx', mode);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    if (force) renameSync(temporary, path);
    // Unlike a rename it fails when there is one.
    else linkSync(temporary, path);
  } catch (error) {
    throw new Failure(ExitCode.error, `can't write ${path}: ${(error as Error).message}`);
  } finally {
    rmSync(temporary, { force: true });
  }
}
