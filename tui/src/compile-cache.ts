// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Keeps what V8 has compiled for the next run, in a directory of this user's alone: V8 runs what it finds there, and
 * Node's own choice is one below /tmp that whoever comes first has made. Where there is none, everything is compiled anew.
 */
export function keepCompiled(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const base = environment['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const directory = join(base, 'marcher', 'compiled');
  try {
    // Not the home itself: a user that has none, as services do, is to be left without.
    for (const each of [base, join(base, 'marcher'), directory]) {
      if (!existsSync(each)) mkdirSync(each, { recursive: each !== base, mode: 0o700 });
    }
    const { uid, mode } = statSync(directory);
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return undefined;
    enableCompileCache(directory);
    return directory;
  } catch {
    return undefined;
  }
}
