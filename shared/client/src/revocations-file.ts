// SPDX-License-Identifier: Apache-2.0
/** What is known to be revoked, as a file for each root, named for the first 32 digits of its SHA-256. */
import { join } from 'node:path';
import { makeDirectoryOf, readPrivate, replacePrivate } from './private-file.js';
import { formatRevocations, type KnownRevocations, parseRevocations, withLists } from './revocations.js';

/** Lists of some nodes with 10,000 entries each. */
const FILE_MAX_BYTES = 32 << 20;
const NAME_DIGITS = 32;

export class RevocationsFile {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = join(directory, 'revocations');
  }

  /** undefined: nothing was heard yet. One that can't be read, or is damaged, fails as Error with a sentence. */
  read(root: string): KnownRevocations | undefined {
    const path = this.#path(root);
    try {
      const text = readPrivate(path, FILE_MAX_BYTES);
      if (text === undefined) return undefined;
      const known = parseRevocations(text, root);
      if (known === undefined) throw new Error('it is damaged: remove it, and it is made anew');
      return known;
    } catch (error) {
      throw new Error(`${path}, by which removed nodes are known, is not used: ${(error as Error).message}`);
    }
  }

  /** Together with what another process has written meanwhile. Fails as Error with a sentence. */
  write(known: KnownRevocations, nowMs: number): void {
    const path = this.#path(known.root);
    makeDirectoryOf(path);
    replacePrivate(path, formatRevocations(withLists(known, this.read(known.root)?.lists ?? [], nowMs)));
  }

  #path(root: string): string {
    return join(this.#directory, `${root.slice(0, NAME_DIGITS)}.json`);
  }
}
