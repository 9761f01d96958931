// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Log } from './log.js';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-log-'));
  path = join(directory, 'console/console.log');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('is a line for each, which nobody else reads', () => {
  const log = new Log(path, () => Date.parse('2026-11-22T12:00:00Z'));
  log.warn({ method: 'meshes' }, 'refused');
  log.error({ error: 'x'.repeat(10_000) }, 'failed');
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    time: '2026-11-22T12:00:00.000Z',
    level: 'warn',
    message: 'refused',
    method: 'meshes',
  });
  expect(JSON.parse(lines[1] ?? '').error).toHaveLength(2_000);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('takes two files at most', () => {
  const log = new Log(path, Date.now);
  log.warn({}, 'first');
  writeFileSync(path, 'x'.repeat((1 << 20) + 1));
  log.warn({}, 'next');
  expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(1);
  expect(existsSync(`${path}.1`)).toBe(true);
});

test('is let go where it can not be written', () => {
  writeFileSync(join(directory, 'console'), '');
  expect(() => new Log(path, Date.now).warn({}, 'nothing')).not.toThrow();
});
