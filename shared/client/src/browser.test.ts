// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const client = 'shared/client/src';
const own: Record<string, string> = { '@marcher/model': 'shared/model/src/index.ts' };
/** Packages that run in browsers. */
const allowed = /^(@connectrpc\/connect|@bufbuild\/protobuf(\/.*)?|@marcher\/proto\/.*|yaml|zod)$/;

/** All that a module imports but for types, and what that imports, with where: "a.ts: node:fs". */
function imported(entry: string): { readonly files: Set<string>; readonly packages: Set<string> } {
  const files = new Set([entry]);
  const packages = new Set<string>();
  for (const file of files) {
    const source = readFileSync(file, 'utf8');
    for (const [, what, name = ''] of source.matchAll(
      /^(?:import|export)\s([^;]*?)from '([^']+)'|^import '([^']+)'/gm,
    )) {
      if (what?.startsWith('type ')) continue;
      const target = own[name] ?? path.join(path.dirname(file), name.replace(/\.js$/, '.ts'));
      if (name.startsWith('.') || own[name] !== undefined) files.add(target);
      else if (!allowed.test(name)) packages.add(`${file}: ${name}`);
    }
  }
  return { files, packages };
}

test.each(['fleet', 'actions', 'testing'])('%s runs in browsers', (name) => {
  const { files, packages } = imported(path.join(client, name, 'index.ts'));
  expect([...files].filter((file) => !existsSync(file))).toEqual([]);
  expect(files.size).toBeGreaterThan(5);
  expect([...packages]).toEqual([]);
  const ambient = [...files].filter((file) =>
    /\b(Buffer|process|require|__dirname)\b[.(]/.test(
      readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, ''),
    ),
  );
  expect(ambient).toEqual([]);
});

test('the whole client is for Node.js alone', () => {
  expect(imported(path.join(client, 'index.ts')).packages.size).toBeGreaterThan(0);
});
