// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh that the console showed last: it comes up with that. It is its own choice: `marcher target use` says what commands in a
 * terminal do, and no click here sends those elsewhere.
 */
import { type AddressBook, LOCAL_NAME } from '@marcher/client/address-book';
import { makeDirectoryOf, readPrivate, replacePrivate } from '@marcher/client/private-file';
import { z } from 'zod';

const FILE_MAX_BYTES = 4_096;
const shape = z.object({ mesh: z.string().max(63) });

export class ChosenMesh {
  readonly #path: string;
  #chosen: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** One that the book has, or this machine's: what was chosen here, else what `marcher target use` has chosen. */
  of({ targets, current }: AddressBook): string {
    this.#chosen ??= this.#read();
    const isThere = this.#chosen !== undefined && (this.#chosen === LOCAL_NAME || targets.has(this.#chosen));
    return isThere ? (this.#chosen as string) : (current ?? LOCAL_NAME);
  }

  choose(name: string): void {
    if (name === this.#chosen) return;
    this.#chosen = name;
    try {
      makeDirectoryOf(this.#path);
      replacePrivate(this.#path, `${JSON.stringify({ mesh: name })}\n`);
    } catch {
      // Known until the console is closed.
    }
  }

  #read(): string | undefined {
    try {
      return shape.parse(JSON.parse(readPrivate(this.#path, FILE_MAX_BYTES) ?? '')).mesh;
    } catch {
      return undefined;
    }
  }
}
