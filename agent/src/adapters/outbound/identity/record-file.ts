// SPDX-License-Identifier: Apache-2.0
/**
 * Files of a node's identity: replaced whole and on disk when a call returns, checked when they are read. The first line
 * says what it is, and the SHA-256 of the rest; tools that look for PEM pass over it.
 *
 *   marcher node 1 sha256=HEX
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { IdentityError } from '../../../ports/identity.js';

const VERSION = '1';
const HEAD = /^marcher ([a-z-]+) (\d+) sha256=([0-9a-f]{64})$/;
const OTHERS = 0o077;

/** Makes it for its owner alone; one that is there and open to others is closed to them. */
export function prepareDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if ((statSync(path).mode & OTHERS) !== 0) chmodSync(path, 0o700);
  } catch (error) {
    throw systemError(`the directory ${path} can't be used`, error);
  }
}

export function writeRecord(path: string, kind: string, body: string): void {
  const temporary = `${path}.new`;
  const head = `marcher ${kind} ${VERSION} sha256=${digest(body)}\n`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      // One that a crash has left behind may have another mode.
      fchmodSync(file, 0o600);
      writeFileSync(file, head + body);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (error) {
    discard(temporary);
    throw systemError(`${path} can't be written`, error);
  }
}

/** undefined: there is none. */
export function readRecord(path: string, kind: string, maxBytes: number): string | undefined {
  const text = readPrivateFile(path, maxBytes);
  if (text === undefined) return undefined;
  const end = text.indexOf(0x0a);
  const [, found, version, sum] = HEAD.exec(text.toString('latin1', 0, Math.max(0, end))) ?? [];
  if (found !== kind) throw damaged(path, `its first line is not "marcher ${kind} ${VERSION} sha256=…"`);
  if (version !== VERSION) {
    throw new IdentityError(
      'invalid',
      `${path} was written by a newer version of marcher: expected version ${VERSION}`,
    );
  }
  const body = text.toString('utf8', end + 1);
  if (digest(body) !== sum) throw damaged(path, 'it is not what was written');
  return body;
}

/** Whatever is in a file that only its owner may read; undefined: there is none. */
export function readPrivateFile(path: string, maxBytes: number): Buffer | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw systemError(`${path} can't be read`, error);
  }
  try {
    const { mode, size } = fstatSync(file);
    if ((mode & OTHERS) !== 0) {
      const fix = `chmod 600 ${path}, and replace what is secret in it`;
      throw new IdentityError(
        'permissions',
        `${path} may be read by others (mode ${(mode & 0o777).toString(8)}): ${fix}`,
      );
    }
    if (size > maxBytes) throw damaged(path, `it has ${size} bytes, where at most ${maxBytes} are expected`);
    return readFileSync(file);
  } catch (error) {
    if (error instanceof IdentityError) throw error;
    throw systemError(`${path} can't be read`, error);
  } finally {
    closeSync(file);
  }
}

export function damaged(path: string, what: string): IdentityError {
  return new IdentityError(
    'damaged',
    `${path} is damaged: ${what}; restore it from a backup, or remove it and join again`,
  );
}

/** What is left of it is overwritten the next time: that it can't be removed is not what went wrong. */
function discard(temporary: string): void {
  try {
    rmSync(temporary, { force: true });
  } catch {
    // Said by the error that brought us here.
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function systemError(what: string, error: unknown): IdentityError {
  const { code, message } = error as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  return new IdentityError(denied ? 'permissions' : 'io', `${what}: ${message}`);
}

function digest(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}
