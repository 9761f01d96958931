// SPDX-License-Identifier: Apache-2.0
/** Where libmarcher and the engine are: named, from the environment, from the tree that this file is in, or installed. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const fromHere = (path: string): string => fileURLToPath(new URL(`../../../../../${path}`, import.meta.url));

/** The first that is given, else the first that exists, else the first place (whose absence the load then reports). */
function locate(given: string | undefined, variable: string | undefined, places: readonly string[]): string {
  if (given !== undefined && given !== '') return given;
  if (variable !== undefined && variable !== '') return variable;
  return places.find((place) => existsSync(place)) ?? places[0] ?? '';
}

/** Option, then MARCHER_LIBRARY, then dataplane-c/build of this tree, then /usr/lib/marcher. */
export function libraryPath(given?: string, environment: NodeJS.ProcessEnv = process.env): string {
  return locate(given, environment['MARCHER_LIBRARY'], [
    fromHere('dataplane-c/build/src/control/libmarcher.so'),
    '/usr/lib/marcher/libmarcher.so.1',
    '/usr/lib/marcher/libmarcher.so',
  ]);
}

/** Option, then MARCHER_ENGINE, then dataplane-c/build of this tree, then /usr/libexec/marcher. */
export function enginePath(given?: string, environment: NodeJS.ProcessEnv = process.env): string {
  return locate(given, environment['MARCHER_ENGINE'], [
    fromHere('dataplane-c/build/src/marcher-engine'),
    '/usr/libexec/marcher/marcher-engine',
  ]);
}
