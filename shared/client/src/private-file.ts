// SPDX-License-Identifier: Apache-2.0
/** Small files that say whom this user trusts: read only where nobody else has written them, and replaced whole. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

const HAS_OWNERS = process.geteuid !== undefined;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/** $XDG_CONFIG_HOME/marcher, where it is absolute (as the XDG base directory specification asks), else ~/.config/marcher. */
export function configurationDirectory(environment: Readonly<Record<string, string | undefined>>): string {
  const { XDG_CONFIG_HOME: configured = '' } = environment;
  return join(isAbsolute(configured) ? configured : join(homedir(), '.config'), 'marcher');
}

/** undefined: there is none. Fails as Error with a sentence without the file's name. */
export function readPrivate(path: string, maxBytes: number): string | undefined {
  let file: number;
  try {
    // A pipe would be waited for.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    // Nor is there any where the home directory is no directory, as of users that nobody logs in as.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
  try {
    const { mode, uid, size } = fstatSync(file);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new Error('it is not a file');
    // Windows has neither: what keeps others out there is the profile's own access list.
    if (HAS_OWNERS && uid !== process.geteuid?.()) throw new Error('it belongs to another user');
    if (HAS_OWNERS && (mode & OTHERS) !== 0) throw new Error(`others can read it: chmod 600 ${path}`);
    if (size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    const buffer = Buffer.alloc(size);
    let length = 0;
    for (let got = -1; got !== 0 && length < size; length += got) {
      got = readSync(file, buffer, length, size - length, null);
    }
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

/** With its directory, where that is not there. Fails as Error with a sentence. */
export function makeDirectoryOf(path: string): void {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (HAS_OWNERS && (statSync(directory).mode & OTHERS_WRITE) !== 0) {
    throw new Error(`others can write in ${directory}: chmod go-w ${directory}`);
  }
}

/** In one step: whoever reads finds the one before or this one, whole. */
export function replacePrivate(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}`;
  try {
    const file = openSync(temporary, 'wx', 0o600);
    try {
      for (let at = 0, bytes = Buffer.from(text); at < bytes.length; ) at += writeSync(file, bytes, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
