// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const MARCHERD = join(import.meta.dirname, '../bin/marcherd');

let tree = '';

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'marcher-bin-'));
  place('agent/bin/marcherd', 0, () => copyFileSync(MARCHERD, join(tree, 'agent/bin/marcherd')));
  place('agent/node', 0, (path) => writeFileSync(path, '#!/bin/sh\necho "$@"\n'));
  chmodSync(join(tree, 'agent/node'), 0o755);
  place('agent/tsconfig.tsbuildinfo', 100);
  place('shared/model/tsconfig.tsbuildinfo', 100);
  place('agent/bundle/main.js', 200);
});

afterEach(() => rmSync(tree, { recursive: true }));

test('marcherd starts the bundle, which is newer than what it was made of, and hands its options on', () => {
  expect(started('--state', '/x y')).toMatch(/^--max-semi-space-size=4 agent\/bundle\/main\.js --state \/x y$/);
});

test.each(['agent/tsconfig.tsbuildinfo', 'shared/model/tsconfig.tsbuildinfo'])(
  'marcherd starts what has been compiled since the bundle was made: %s',
  (made) => {
    place(made, 300);
    expect(started()).toContain('agent/dist/main.js');
  },
);

test('marcherd starts what was compiled where nothing is bundled', () => {
  rmSync(join(tree, 'agent/bundle'), { recursive: true });
  expect(started()).toContain('agent/dist/main.js');
});

function place(path: string, seconds: number, write = (at: string): void => writeFileSync(at, '')): void {
  const at = join(tree, path);
  mkdirSync(dirname(at), { recursive: true });
  write(at);
  utimesSync(at, seconds, seconds);
}

function started(...args: string[]): string {
  const line = execFileSync(join(tree, 'agent/bin/marcherd'), args, { encoding: 'utf8' }).trim();
  return line.replace(/\S+main\.js/, (main) => relative(tree, main));
}
