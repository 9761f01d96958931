// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const biome = path.resolve('node_modules/.bin/biome');
let tree: string;

// A tree of its own with the repository's configuration: a file that must be refused never stands in the real one.
beforeAll(() => {
  tree = mkdtempSync(path.join(tmpdir(), 'marcher-lint-'));
  for (const file of ['biome.json', '.gitignore', 'scripts/lint/no-ambient.grit']) {
    cpSync(file, path.join(tree, file));
  }
});
afterAll(() => rmSync(tree, { recursive: true, force: true }));

/** What Biome says about the source text if it stands in the file. */
const lint = (file: string, source: string): string => {
  const target = path.join(tree, file);
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(target, source);
  const run = spawnSync(biome, ['lint', '--colors=off', file], { cwd: tree, encoding: 'utf8' });
  rmSync(target);
  return run.stdout + run.stderr;
};

describe('import boundaries', () => {
  const refused: [string, string, string][] = [
    ['agent/src/domain/x.ts', "export { readFile } from 'node:fs';\n", 'agent/src/domain imports nothing but'],
    ['agent/src/domain/x.ts', "export { a } from '../adapters/a.ts';\n", 'agent/src/domain imports nothing but'],
    ['agent/src/domain/x.ts', "export { a } from 'better-sqlite3';\n", 'agent/src/domain imports nothing but'],
    ['shared/model/src/x.ts', "export { a } from '@marcher/agent';\n", 'shared/ imports nothing'],
    ['agent/src/adapters/x.ts', "export { a } from '@marcher/tui';\n", 'never each other'],
    ['tui/src/x.ts', "export { a } from '@marcher/agent';\n", 'never each other'],
    ['console/src/renderer/x.ts', "export { readFile } from 'node:fs';\n", 'The renderer runs in a browser'],
    ['console/src/renderer/x.ts', "export { a } from '@marcher/client';\n", 'The renderer runs in a browser'],
  ];
  it.each(refused)('%s may not say %s', (file, source, message) => {
    expect(lint(file, source)).toContain(message);
  });

  const allowed: [string, string][] = [
    ['agent/src/domain/x.ts', "export { a } from '@marcher/model';\n"],
    ['agent/src/domain/sub/x.ts', "export { a } from '../y.ts';\n"],
    ['agent/src/adapters/x.ts', "export { readFile } from 'node:fs';\n"],
    ['tui/src/x.ts', "export { a } from '@marcher/client';\n"],
    ['console/src/renderer/x.ts', "export { a } from '@marcher/client/fleet';\n"],
    ['console/src/gateway/x.ts', "export { readFile } from 'node:fs';\n"],
  ];
  it.each(allowed)('%s may say %s', (file, source) => {
    expect(lint(file, source)).not.toContain('noRestrictedImports');
  });
});

describe('ambient clock and randomness', () => {
  const uses = ['Date.now()', 'new Date()', 'Math.random()', 'setTimeout(() => {}, 1)', 'performance.now()'];
  it.each(uses)('%s is refused in the domain and allowed outside of it', (use) => {
    const source = `export const a = ${use};\n`;
    expect(lint('agent/src/domain/x.ts', source)).toMatch(/Pure package|noRestrictedGlobals/);
    expect(lint('agent/src/application/x.ts', source)).not.toMatch(/Pure package|noRestrictedGlobals/);
  });

  it('a date made from a given time is allowed', () => {
    expect(lint('agent/src/domain/x.ts', 'export const a = new Date(5);\n')).not.toContain('Pure package');
  });
});
