// SPDX-License-Identifier: Apache-2.0
/** Results as JSON under bench/results, for the record. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '@marcher/e2e/harness/scope';

/** Returns the file's path, relative to the repository. */
export const writeResult = (name: string, result: Readonly<Record<string, unknown>>): string => {
  const file = path.join('bench/results', `${name}.json`);
  mkdirSync(path.join(REPOSITORY, 'bench/results'), { recursive: true });
  const text = JSON.stringify(
    { bench: name, date: new Date().toISOString(), node: process.version, ...result },
    null,
    2,
  );
  writeFileSync(path.join(REPOSITORY, file), `${text}\n`);
  return file;
};
