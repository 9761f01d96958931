// SPDX-License-Identifier: Apache-2.0
/** `marcher`: the command line. Every subcommand is loaded when it is run, since most runs need one. */
import { keepCompiled } from './compile-cache.js';

keepCompiled();

// A reader that has seen enough (`marcher get services | head`) is not an error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

const { run } = await import('./cli/run.js');
process.exitCode = await run(process.argv.slice(2));
