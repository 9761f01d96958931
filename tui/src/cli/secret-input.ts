// SPDX-License-Identifier: Apache-2.0
/** Passwords and codes: typed without an echo, or from a file; never from the command line, which others see. */
import { closeSync, openSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Terminal } from './confirm.js';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';
import { printable } from './output/style.js';

const FILE_MAX_BYTES = 4_096;
const STDIN = 0;
const standard: Terminal = { input: process.stdin, output: process.stderr };

/** What was typed. Ctrl-C and the end of the input end the command; option: what to give where nobody can be asked. */
export async function askSecret(
  question: string,
  option: string,
  { input, output }: Terminal = standard,
): Promise<string> {
  if (!input.isTTY || !output.isTTY) {
    throw usage(`${question} is asked for on a terminal, and standard input or error is none: ${option}`);
  }
  const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input, output: muted, terminal: true, historySize: 0 });
  output.write(`${printable(question)}: `);
  const answer = await new Promise<string | undefined>((resolve) => {
    reader.once('SIGINT', () => reader.close());
    reader.once('close', () => resolve(undefined));
    reader.question('').then(resolve, () => resolve(undefined));
  });
  reader.close();
  output.write('\n');
  if (answer === undefined) throw new Failure(ExitCode.interrupted, '');
  return answer;
}

/** As askSecret(), with an echo. */
export async function askText(
  question: string,
  option: string,
  { input, output }: Terminal = standard,
): Promise<string> {
  if (!input.isTTY || !output.isTTY) {
    throw usage(`${question} is asked for on a terminal, and standard input or error is none: ${option}`);
  }
  const reader = createInterface({ input, output, terminal: true, historySize: 0 });
  const answer = await new Promise<string | undefined>((resolve) => {
    reader.once('SIGINT', () => reader.close());
    reader.once('close', () => resolve(undefined));
    reader.question(`${printable(question)}: `).then(resolve, () => resolve(undefined));
  });
  reader.close();
  if (answer !== undefined) return answer;
  output.write('\n');
  throw new Failure(ExitCode.interrupted, '');
}

/** The first line of a file; "-": of standard input. */
export function readSecretFile(path: string): string {
  const file = path === '-' ? STDIN : openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(FILE_MAX_BYTES + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = readSync(file, buffer, length, buffer.length - length, null);
      if (read === 0) break;
      length += read;
    }
    if (length > FILE_MAX_BYTES) throw usage(`${path} has more than ${FILE_MAX_BYTES} bytes: expected a password`);
    const [line = ''] = buffer.toString('utf8', 0, length).split(/\r?\n/, 1);
    if (line === '') throw usage(`the first line of ${path} is empty: expected a password`);
    return line;
  } finally {
    if (file !== STDIN) closeSync(file);
  }
}

/** A new one, which is typed twice. */
export async function newPassword(file: string | undefined, user: string, terminal?: Terminal): Promise<string> {
  if (file !== undefined) return readSecretFile(file);
  const option = 'give --password-file';
  const password = await askSecret(`New password of ${user}`, option, terminal);
  if (password !== (await askSecret('Once more', option, terminal))) {
    throw new Failure(ExitCode.error, 'these are two different passwords; nothing was changed');
  }
  return password;
}
