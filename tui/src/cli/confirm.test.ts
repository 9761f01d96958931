// SPDX-License-Identifier: Apache-2.0
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { confirm, type Terminal } from './confirm.js';
import type { Failure } from './failure.js';

/** What comes of typing that, and what the terminal shows. undefined: yes. */
async function typed(text: string, isTTY = true): Promise<{ failure: Failure | undefined; shown: string }> {
  const input = Object.assign(new PassThrough(), { isTTY });
  const output = Object.assign(new PassThrough(), { isTTY });
  const terminal: Terminal = { input, output };
  const asked = confirm('Remove\u001b[2J it?', terminal);
  if (text === '') input.end();
  else input.write(text);
  const failure = await asked.then(
    () => undefined,
    (reason: Failure) => reason,
  );
  return { failure, shown: String(output.read() ?? '') };
}

test.each(['y\r', 'Yes\r', ' YES \r'])('%j goes on', async (text) => {
  const { failure, shown } = await typed(text);
  expect(failure).toBeUndefined();
  expect(shown).toContain('Remove\ufffd[2J it? [y/N] ');
});

test.each(['\r', 'n\r', 'yesterday\r'])('%j changes nothing', async (text) => {
  expect((await typed(text)).failure).toMatchObject({ exitCode: 1, message: expect.stringContaining('nothing') });
});

test.each([
  ['Ctrl-C', '\u0003'],
  ['Ctrl-D', '\u0004'],
  ['the end of the input', ''],
])('%s ends it as interrupted', async (_what, text) => {
  expect((await typed(text)).failure).toMatchObject({ exitCode: 130 });
});

test('without a terminal nobody is asked', async () => {
  const { failure, shown } = await typed('y\r', false);
  expect(failure).toMatchObject({ exitCode: 2, message: expect.stringContaining('--yes') });
  expect(shown).toBe('');
});
