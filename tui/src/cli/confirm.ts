// SPDX-License-Identifier: Apache-2.0
/** A question before what can't be taken back. */
import { createInterface } from 'node:readline/promises';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';
import { printable } from './output/style.js';

export interface Terminal {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** Standard output stays free for results. */
const standard: Terminal = { input: process.stdin, output: process.stderr };

/**
 * Returns once "y" or "yes" was typed; everything else, the end of the input and Ctrl-C are a Failure that says that
 * nothing was done. Where nobody can be asked, --yes must have been given instead.
 */
export async function confirm(question: string, { input, output }: Terminal = standard): Promise<void> {
  if (!input.isTTY || !output.isTTY) {
    throw usage('this asks before it goes on, and standard input or error is no terminal: give --yes');
  }
  const reader = createInterface({ input, output, terminal: true });
  const answer = await new Promise<string | undefined>((resolve) => {
    // Of Ctrl-C and Ctrl-D; after an answer it is too late to matter.
    reader.once('SIGINT', () => reader.close());
    reader.once('close', () => resolve(undefined));
    reader.question(`${printable(question)} [y/N] `).then(resolve, () => resolve(undefined));
  });
  reader.close();
  if (answer === undefined) {
    output.write('\n');
    throw new Failure(ExitCode.interrupted, '');
  }
  if (!/^\s*y(?:es)?\s*$/i.test(answer)) throw new Failure(ExitCode.error, 'it was not confirmed; nothing was changed');
}
