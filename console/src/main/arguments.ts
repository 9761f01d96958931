// SPDX-License-Identifier: Apache-2.0
/** What the console is started with. Chromium has options of its own in the same line, so what is not known is not refused. */
import { isTargetName } from '@marcher/client/address-book';

/** -t NAME, --target NAME, --target=NAME: the mesh to show first. undefined: the one of the last time. */
export function startMesh(argv: readonly string[]): string | undefined {
  for (const [at, word] of argv.entries()) {
    const given = word === '-t' || word === '--target' ? argv[at + 1] : /^--target=(.*)$/.exec(word)?.[1];
    if (given !== undefined && isTargetName(given)) return given;
  }
  return undefined;
}
