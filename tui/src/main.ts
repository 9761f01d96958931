// SPDX-License-Identifier: Apache-2.0
/** `marcher`: the command line. Every subcommand is loaded when it is run, since most runs need one. */
import { setTimeout } from 'node:timers';
import { keepCompiled } from './compile-cache.js';

keepCompiled();

const LAST_WRITE_MS = 1_000;

// A reader that has seen enough (`marcher get services | head`) is not an error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

const { run } = await import('./cli/run.js');
process.exitCode = await run(process.argv.slice(2));
// What a terminal that nobody reads has not taken would keep the process for ever.
const isStuck = [process.stdout, process.stderr].some(({ isTTY, writableLength }) => isTTY && writableLength > 0);
if (isStuck) setTimeout(() => process.exit(), LAST_WRITE_MS);
