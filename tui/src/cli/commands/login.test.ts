// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import type { Terminal } from '../confirm.js';
import { ask } from './login.js';

/** Answers each question that has one of these words in it; shown: all that was. */
function terminalOf(answers: Readonly<Record<string, string>>): Terminal & { shown: () => string } {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  const output = Object.assign(new PassThrough(), { isTTY: true });
  let shown = '';
  output.on('data', (data) => {
    shown += data;
    const word = Object.keys(answers).find((each) => String(data).includes(each) && String(data).endsWith(': '));
    if (word !== undefined) setImmediate(() => input.write(`${answers[word]}\r`));
  });
  return { input, output, shown: () => shown };
}

const TYPED = { User: 'alice', Password: 'four words or so', Code: ' 123456' };

test('user, password and code are asked for, the last two without an echo', async () => {
  const terminal = terminalOf(TYPED);
  const answers = await ask({}, 'prod', undefined, terminal);
  expect(answers).toEqual({ name: 'alice', password: 'four words or so', code: '123456' });
  expect(terminal.shown()).toContain('User at prod: ');
  expect(terminal.shown()).not.toMatch(/four words|123456/);
});

test('Enter is who was there before, and no code', async () => {
  const terminal = terminalOf({ ...TYPED, User: '', Code: '' });
  expect(await ask({}, 'prod', 'bob', terminal)).toEqual({ name: 'bob', password: 'four words or so', code: '' });
  expect(terminal.shown()).toContain('User at prod [bob]: ');
  await expect(ask({}, 'prod', undefined, terminal)).rejects.toMatchObject({ exitCode: 2 });
});

test('with a file of the password the code is asked for on a terminal alone', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'marcher-login-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, 'of the file\n');
  const given = { user: 'carol', passwordFile };
  expect(await ask(given, 'prod', 'bob', terminalOf(TYPED))).toEqual({
    name: 'carol',
    password: 'of the file',
    code: '123456',
  });
  const none = { input: new PassThrough(), output: new PassThrough() };
  expect(await ask(given, 'prod', 'bob', none)).toEqual({ name: 'carol', password: 'of the file', code: '' });
  await expect(ask({}, 'prod', 'bob', none)).rejects.toMatchObject({ message: expect.stringContaining('--user') });
});
