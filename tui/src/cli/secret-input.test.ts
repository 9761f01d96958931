// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import type { Terminal } from './confirm.js';
import { askSecret, newPassword, readSecretFile } from './secret-input.js';

function terminalOf(isTTY = true): Terminal & { input: PassThrough; output: PassThrough } {
  return {
    input: Object.assign(new PassThrough(), { isTTY }),
    output: Object.assign(new PassThrough(), { isTTY }),
  };
}

test('what is typed is not shown, and can be corrected', async () => {
  const terminal = terminalOf();
  const asked = askSecret('Password of \u001b[2Jalice', 'give --password-file', terminal);
  terminal.input.write('sesamX\u007f open\r');
  expect(await asked).toBe('sesam open');
  expect(String(terminal.output.read())).toBe('Password of \ufffd[2Jalice: \n');
});

test.each([
  ['Ctrl-C', 'ses\u0003'],
  ['Ctrl-D', '\u0004'],
])('%s ends it as interrupted', async (_what, text) => {
  const terminal = terminalOf();
  const asked = askSecret('Password', '', terminal);
  terminal.input.write(text);
  await expect(asked).rejects.toMatchObject({ exitCode: 130 });
});

test('without a terminal nobody is asked, and told what to give', async () => {
  await expect(askSecret('Password', 'give --password-file', terminalOf(false))).rejects.toMatchObject({
    exitCode: 2,
    message: expect.stringContaining('give --password-file'),
  });
});

test.each([
  ['the same', true],
  ['others', false],
])('a new one is typed twice: %s', async (second, same) => {
  const terminal = terminalOf();
  const asked = newPassword(undefined, 'alice', terminal);
  terminal.input.write('the same\r');
  setImmediate(() => terminal.input.write(`${second}\r`));
  if (same) expect(await asked).toBe('the same');
  else
    await expect(asked).rejects.toMatchObject({ exitCode: 1, message: expect.stringContaining('nothing was changed') });
});

test('of a file it is the first line, and a file that is none is said', () => {
  const directory = mkdtempSync(join(tmpdir(), 'marcher-secret-'));
  const path = join(directory, 'password');
  try {
    writeFileSync(path, ' with spaces \r\nand a second line\n');
    expect(readSecretFile(path)).toBe(' with spaces ');
    for (const text of ['', '\nx', 'x'.repeat(5_000)]) {
      writeFileSync(path, text);
      expect(() => readSecretFile(path)).toThrow(/expected a password/);
    }
    expect(() => readSecretFile(join(directory, 'none'))).toThrow(/ENOENT/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
