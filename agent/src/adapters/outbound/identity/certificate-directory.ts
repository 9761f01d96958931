// SPDX-License-Identifier: Apache-2.0
/**
 * A directory in which programs on this machine find certificates and keys, kept as it is to be: each file replaced whole, by
 * a rename. What this agent has put there is in ".marcher"; no other file is written over or removed.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
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
import { join } from 'node:path';
import { IdentityError } from '../../../ports/identity.js';

export interface DirectoryFile {
  /** Without a path. */
  readonly name: string;
  readonly text: string;
  /** For its owner alone; else everybody may read it. */
  readonly secret: boolean;
}

const LIST = '.marcher';
const LIST_MAX_BYTES = 1_048_576;
const FILE_MAX_BYTES = 1_048_576;
const NAME = /^[a-z0-9][a-z0-9.-]{0,250}$/;
const STICKY = 0o1000;
/** Who may write there could put another key in the place of one. */
const WRITERS = 0o022;

export class CertificateDirectory {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * In the order of the files, so that what is read first by others is to be last. Names of those that were written or
   * removed. Fails as IdentityError; what could be done is done.
   */
  sync(files: readonly DirectoryFile[]): readonly string[] {
    try {
      return this.#sync(files);
    } catch (error) {
      if (error instanceof IdentityError) throw error;
      throw new IdentityError('io', `${this.#path} can't be kept: ${(error as Error).message}`);
    }
  }

  #sync(files: readonly DirectoryFile[]): readonly string[] {
    this.#prepare();
    const own = this.#list();
    const wanted = new Set(files.map(({ name }) => name));
    const strangers = files.filter(({ name }) => !own.has(name) && existsSync(join(this.#path, name)));
    const different = files.filter((file) => !strangers.includes(file) && !this.#is(file));
    const gone = [...own].filter((name) => !wanted.has(name));
    const kept = new Set([...own, ...different.map(({ name }) => name)]);
    // First, so that nothing is there of which nobody knows who wrote it.
    if (kept.size > own.size) this.#saveList(kept);
    for (const file of different) this.#write(file);
    for (const name of gone) rmSync(join(this.#path, name), { force: true });
    if (gone.length > 0) this.#saveList(new Set([...kept].filter((name) => wanted.has(name))));
    const [stranger] = strangers;
    if (stranger !== undefined) {
      const path = join(this.#path, stranger.name);
      throw new IdentityError('exists', `${path} is there and is not this agent's: move it away`);
    }
    return [...different.map(({ name }) => name), ...gone];
  }

  #prepare(): void {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    if (stat === undefined) {
      mkdirSync(this.#path, { recursive: true });
      // Whatever the umask: keys are closed by themselves.
      chmodSync(this.#path, 0o755);
      return;
    }
    if (!stat.isDirectory()) throw new IdentityError('invalid', `${this.#path} is no directory`);
    if ((stat.mode & WRITERS) !== 0 && (stat.mode & STICKY) === 0) {
      const mode = (stat.mode & 0o777).toString(8);
      const fix = `chmod go-w ${this.#path}`;
      throw new IdentityError('permissions', `others may write in ${this.#path} (mode ${mode}): ${fix}`);
    }
  }

  #list(): Set<string> {
    const text = this.#read(LIST, LIST_MAX_BYTES)?.text ?? '';
    return new Set(text.split('\n').filter((name) => NAME.test(name)));
  }

  #saveList(names: ReadonlySet<string>): void {
    const text = [...names].sort().map((name) => `${name}\n`);
    this.#write({ name: LIST, text: text.join(''), secret: false });
  }

  #is({ name, text, secret }: DirectoryFile): boolean {
    const there = this.#read(name, FILE_MAX_BYTES);
    return there !== undefined && there.text === text && there.mode === modeOf(secret);
  }

  /** undefined: there is none, or it is something else. */
  #read(name: string, maxBytes: number): { readonly text: string; readonly mode: number } | undefined {
    const path = join(this.#path, name);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
    const file = openSync(path, 'r');
    try {
      const { mode, size } = fstatSync(file);
      return size > maxBytes ? undefined : { text: readFileSync(file, 'utf8'), mode: mode & 0o777 };
    } finally {
      closeSync(file);
    }
  }

  #write({ name, text, secret }: DirectoryFile): void {
    const path = join(this.#path, name);
    const temporary = join(this.#path, `.${name}.new`);
    rmSync(temporary, { force: true });
    try {
      // Never through a link that somebody has put there.
      const file = openSync(temporary, 'wx', 0o600);
      try {
        writeFileSync(file, text);
        fchmodSync(file, modeOf(secret));
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
}

function modeOf(secret: boolean): number {
  return secret ? 0o600 : 0o644;
}
