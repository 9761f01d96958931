// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepCompiled } from './compile-cache.js';

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'marcher-cache-'));
});

afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const keep = () => keepCompiled({ XDG_CACHE_HOME: home });

test('compiled code is kept where only this user writes', () => {
  const directory = keep();
  expect(directory).toBe(join(home, 'marcher', 'compiled'));
  expect(statSync(directory as string).mode & 0o777).toBe(0o700);
});

test('a directory that others may write is not used', () => {
  const directory = join(home, 'marcher', 'compiled');
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o777);
  expect(keep()).toBeUndefined();
});

test('a home that is not there is not made', () => {
  expect(keepCompiled({ XDG_CACHE_HOME: join(home, 'none', '.cache') })).toBeUndefined();
  expect(existsSync(join(home, 'none'))).toBe(false);
});

test('where there can be no directory nothing is kept, and nothing fails', () => {
  writeFileSync(join(home, 'marcher'), '');
  expect(keep()).toBeUndefined();
});
