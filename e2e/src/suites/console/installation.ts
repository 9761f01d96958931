// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { REPOSITORY } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';

const DIRECTORY = path.join(REPOSITORY, '.cache/e2e/archives');
let isMade = false;

/** The directory with the installation of this tree as it is now: made once for a run. */
export function installation(world: World): string {
  if (!isMade) {
    const begun = Date.now();
    execFileSync(path.join(REPOSITORY, 'scripts/archive'), ['--built', '--quick', '--output', DIRECTORY]);
    world.note('archive made, s', (Date.now() - begun) / 1_000);
    isMade = true;
  }
  return DIRECTORY;
}
