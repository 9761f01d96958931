// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rendererFiles } from './renderer-files.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-web-'));
  mkdirSync(join(directory, 'web/assets'), { recursive: true });
  writeFileSync(join(directory, 'web/index.html'), '<!doctype html>');
  writeFileSync(join(directory, 'web/assets/index-1.js'), 'export {}');
  writeFileSync(join(directory, 'web/.made'), '');
  writeFileSync(join(directory, 'secret.js'), 'secret');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('files of the renderer have addresses, and nothing else of the disk has', () => {
  const { find } = rendererFiles(join(directory, 'web'));
  expect(find('/index.html')).toMatchObject({ type: 'text/html; charset=utf-8' });
  expect(Buffer.from(find('/assets/index-1.js')?.body ?? []).toString()).toBe('export {}');
  for (const other of ['/', '/.made', '/assets', '/../secret.js', '/assets/../../secret.js', '/%2e%2e/secret.js']) {
    expect(find(other)).toBeUndefined();
  }
});

test('where there is no renderer, it is said how to make it', () => {
  expect(() => rendererFiles(join(directory, 'nowhere'))).toThrow(/expected index.html; npm run setup builds it/);
});
