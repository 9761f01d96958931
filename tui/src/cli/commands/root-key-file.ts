// SPDX-License-Identifier: Apache-2.0
/**
 * The key of a mesh's offline root, in a file that is the operator's: made and opened here, in this process, and sent to no agent. What
 * agents get is certificates and lists that it has signed.
 */
import { closeSync, fsyncSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { OfflineRoot } from '@marcher/ca/offline-root';
import { readPrivate } from '@marcher/client/private-file';
import type { MeshRoot } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { askSecret, readSecretFile } from '../secret-input.js';

/** The file is all that protects the key once it is copied. */
const PASSPHRASE_MIN = 12;
const FILE_MAX_BYTES = 65_536;
/** Then the agent has done nothing. */
const DEFINITE = new Set(['invalid', 'refused', 'conflict', 'denied', 'not_found']);
const PASSPHRASE = 'give --passphrase-file';

export interface RootKeyOptions {
  readonly rootKey?: string;
  readonly rootKeyOut?: string;
  readonly passphraseFile?: string;
  readonly newPassphraseFile?: string;
  readonly days?: string;
}

/** Fails as Failure. */
export async function openRootKey({ rootKey = '', passphraseFile }: RootKeyOptions): Promise<OfflineRoot> {
  const text = quoted(rootKey, () => readPrivate(rootKey, FILE_MAX_BYTES));
  if (text === undefined) throw new Failure(ExitCode.error, `can't read "${rootKey}": there is no such file`);
  const { openOfflineRoot } = await import('@marcher/ca/offline-root-file');
  const passphrase =
    passphraseFile === undefined
      ? await askSecret(`Passphrase of ${rootKey}`, PASSPHRASE)
      : readSecretFile(passphraseFile);
  return await openOfflineRoot(text, passphrase).catch((error: Error) => {
    throw new Failure(ExitCode.error, `${rootKey}: ${error.message}`);
  });
}

/**
 * Makes a root, and writes its key before it is used: work is done with it, and where that was certainly not done, the file goes again.
 * Fails as Failure.
 */
export async function withNewRoot<T>(
  mesh: OfflineRoot['mesh'],
  { rootKeyOut = '', newPassphraseFile, passphraseFile }: RootKeyOptions,
  work: (root: OfflineRoot) => Promise<T>,
): Promise<T> {
  if (statSync(rootKeyOut, { throwIfNoEntry: false }) !== undefined) {
    throw new Failure(ExitCode.error, `${rootKeyOut} is there already: a key is never replaced; name another file`);
  }
  const passphrase = await newPassphrase(newPassphraseFile ?? passphraseFile, rootKeyOut);
  const { createOfflineRoot } = await import('@marcher/ca/offline-root');
  const { sealOfflineRoot } = await import('@marcher/ca/offline-root-file');
  const root = await createOfflineRoot(mesh, Date.now());
  const text = await sealOfflineRoot(root, passphrase);
  quoted(rootKeyOut, () => writeDurably(rootKeyOut, text));
  try {
    return await work(root);
  } catch (error) {
    const { code, message } = error as Error & { readonly code?: string };
    if (error instanceof Failure || DEFINITE.has(code ?? '')) {
      rmSync(rootKeyOut, { force: true });
      throw error;
    }
    const fix = `see marcher mesh ca, and remove ${rootKeyOut} if its root is not there`;
    throw new Failure(ExitCode.unreachable, `${message}; whether the root is in use is not known: ${fix}`);
  } finally {
    root.privateKey.fill(0);
  }
}

/** For the request of an agent, as RotateMeshCa and InitMesh take it. Fails as Failure. */
export async function signedIntermediate(
  root: OfflineRoot,
  requested: { readonly meshId: string; readonly certificateRequest: Uint8Array },
  { days = '' }: RootKeyOptions,
): Promise<{ certificate: Uint8Array<ArrayBuffer>; root: Uint8Array<ArrayBuffer> }> {
  const { INTERMEDIATE_DAYS, signIntermediate } = await import('@marcher/ca/offline-root');
  const lasts = days === '' ? INTERMEDIATE_DAYS.default : Number(days);
  if (!Number.isInteger(lasts) || lasts < 1 || lasts > INTERMEDIATE_DAYS.max) {
    throw usage(`--days is "${days}": expected 1 to ${INTERMEDIATE_DAYS.max}`);
  }
  if (requested.meshId !== root.mesh.id) {
    const what = `the key is of mesh "${root.mesh.name}" (${root.mesh.id}), the node of ${requested.meshId}`;
    throw new Failure(ExitCode.refused, `${what}: give the key of that mesh's root`);
  }
  const certificate = await signIntermediate(root, requested.certificateRequest, lasts, Date.now()).catch(failure);
  return { certificate, root: root.certificate };
}

/** PEM: the list in which its root revokes an intermediate. Fails as Failure. */
export async function revocationOf(root: OfflineRoot, { issuer, serial, fingerprint }: MeshRoot): Promise<string> {
  const { fingerprintOf, revokeIntermediate } = await import('@marcher/ca/offline-root');
  if (issuer === fingerprintOf(root.certificate)) return await revokeIntermediate(root, serial, Date.now());
  const what =
    issuer === '' ? 'it is a root, which nobody revokes' : `another root has signed it, ${issuer.slice(0, 16)}`;
  throw new Failure(ExitCode.refused, `${fingerprint.slice(0, 16)} is not revoked by that key: ${what}`);
}

async function newPassphrase(file: string | undefined, path: string): Promise<string> {
  const passphrase =
    file === undefined ? await askSecret(`New passphrase of ${path}`, PASSPHRASE) : readSecretFile(file);
  if (passphrase.length < PASSPHRASE_MIN) {
    throw usage(
      `the passphrase has less than ${PASSPHRASE_MIN} characters: whoever finds the file can try all of them`,
    );
  }
  if (file === undefined && passphrase !== (await askSecret('Once more', PASSPHRASE))) {
    throw new Failure(ExitCode.error, 'these are two different passphrases; nothing was made');
  }
  return passphrase;
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, 'wx', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function quoted<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Failure(ExitCode.error, `"${path}" can't be used: ${(error as Error).message}`);
  }
}

function failure(error: Error): never {
  throw new Failure(ExitCode.error, error.message);
}
