// SPDX-License-Identifier: Apache-2.0
/** Inputs that once found something: agent/fuzz/TARGET/WHAT-IT-SHOWS. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const CORPUS = join(import.meta.dirname, '../../fuzz');

export function keptOf(target: string): readonly Uint8Array[] {
  const directory = join(CORPUS, target);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .sort()
    .map((name) => new Uint8Array(readFileSync(join(directory, name))));
}
