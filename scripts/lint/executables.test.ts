// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

describe.each([
  ['agent', 'bin/marcherd'],
  ['tui', 'bin/marcher'],
])('%s/%s', (workspace, executable) => {
  let tree = '';

  beforeEach(() => {
    tree = mkdtempSync(join(tmpdir(), 'marcher-bin-'));
    place(`${workspace}/${executable}`, 0);
    copyFileSync(join(ROOT, workspace, executable), join(tree, workspace, executable));
    place('node_modules/node/bin/node', 0, '#!/bin/sh\nprintf "%s\\n" "$@"\n');
    place('node_modules/.bin/node', 0, '#!/bin/sh\nprintf "%s\\n" "$@"\n');
    place(`${workspace}/tsconfig.tsbuildinfo`, 100);
    place('shared/model/tsconfig.tsbuildinfo', 100);
    place(`${workspace}/bundle/.made`, 200);
  });

  afterEach(() => rmSync(tree, { recursive: true }));

  test('runs what is bundled, where nothing was compiled since, with the options that it was given', () => {
    const [main, ...options] = started('--state', '/x y');
    expect(main).toMatch(/\/bundle\/main\.js$/);
    expect(options).toEqual(['--state', '/x y']);
  });

  test.each([`${workspace}/tsconfig.tsbuildinfo`, 'shared/model/tsconfig.tsbuildinfo'])(
    'runs what has been compiled since it was bundled: %s',
    (made) => {
      place(made, 300);
      expect(started()[0]).toMatch(/\/dist\/main\.js$/);
    },
  );

  test('runs what is compiled where nothing is bundled, or not to the end', () => {
    rmSync(join(tree, workspace, 'bundle/.made'));
    place(`${workspace}/bundle/main.js`, 400);
    expect(started()[0]).toMatch(/\/dist\/main\.js$/);
  });

  function place(path: string, seconds: number, content = ''): void {
    const at = join(tree, path);
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, content, { mode: 0o755 });
    utimesSync(at, seconds, seconds);
  }

  /** What Node is given, without its own options. */
  function started(...args: string[]): string[] {
    const { MARCHER_NODE: _, ...env } = process.env;
    const lines = execFileSync(join(tree, workspace, executable), args, { encoding: 'utf8', env })
      .trim()
      .split('\n');
    return lines.slice(lines.findIndex((line) => line.endsWith('main.js')));
  }
});
