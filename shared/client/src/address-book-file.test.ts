// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EMPTY_BOOK, withTarget } from './address-book.js';
import { AddressBookFile } from './address-book-file.js';
import { configurationDirectory } from './private-file.js';

const target = { url: 'https://192.0.2.1:7443' };
let directory: string;
let file: AddressBookFile;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-book-'));
  file = new AddressBookFile(join(directory, 'marcher'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('it is where the XDG specification has it', () => {
  expect(configurationDirectory({ XDG_CONFIG_HOME: '/etc/x' })).toBe('/etc/x/marcher');
  for (const environment of [{}, { XDG_CONFIG_HOME: '' }, { XDG_CONFIG_HOME: 'relative' }]) {
    expect(configurationDirectory(environment)).toBe(join(homedir(), '.config/marcher'));
  }
});

test('it is made for its owner alone, and nothing else is left beside it', async () => {
  expect(file.read()).toBe(EMPTY_BOOK);
  await file.update((book) => withTarget(book, 'prod', target));
  expect(file.read().targets.get('prod')).toEqual(target);
  expect(statSync(file.path).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file.path)).mode & 0o777).toBe(0o700);
  await expect(file.update((book) => withTarget(book, 'prod', target))).rejects.toMatchObject({ code: 'taken' });
  expect(readdirSync(dirname(file.path))).toEqual(['targets.json']);
});

test('one that others can read, or that is damaged, is refused with what to do, and stays as it is', async () => {
  await file.update((book) => withTarget(book, 'prod', target));
  chmodSync(file.path, 0o640);
  expect(() => file.read()).toThrow(`others can read it: chmod 600 ${file.path}`);
  await expect(file.update((book) => withTarget(book, 'lab', target))).rejects.toThrow('others can read it');
  chmodSync(file.path, 0o600);
  writeFileSync(file.path, 'x');
  await expect(file.update((book) => withTarget(book, 'lab', target))).rejects.toThrow('mend it, or move it away');
  expect(statSync(file.path).size).toBe(1);
  chmodSync(dirname(file.path), 0o770);
  await expect(file.update((book) => book)).rejects.toThrow('others can write in');
});

test('the lock of a process that was killed is not waited for', async () => {
  await file.update((book) => withTarget(book, 'prod', target));
  const lock = `${file.path}.lock`;
  writeFileSync(lock, '');
  utimesSync(lock, 0, 0);
  await file.update((book) => withTarget(book, 'lab', target));
  expect([...file.read().targets.keys()]).toEqual(['prod', 'lab']);
});

test('changes of several processes at once are all there', async () => {
  // Built, as node takes it; vitest's own is no other process.
  const built = join(import.meta.dirname, '../dist');
  const script = `
    import { withTarget } from '${built}/address-book.js';
    import { AddressBookFile } from '${built}/address-book-file.js';
    const file = new AddressBookFile('${dirname(file.path)}');
    for (let i = 0; i < 15; i++) await file.update((book) => withTarget(book, process.argv[2] + i, { url: 'host:1' }));`;
  const path = join(directory, 'writer.mjs');
  writeFileSync(path, script);
  const codes = await Promise.all(
    ['a', 'b', 'c'].map((name) => {
      const child = spawn(process.execPath, [path, name], { stdio: 'inherit' });
      return new Promise((resolve) => child.once('close', resolve));
    }),
  );
  expect(codes).toEqual([0, 0, 0]);
  expect(file.read().targets.size).toBe(45);
});
