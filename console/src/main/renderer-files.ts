// SPDX-License-Identifier: Apache-2.0
/** The built renderer, of which names are known from the start: nothing else of the disk has an address. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Files } from './app-protocol.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Throws Error where there is no renderer, with how to make it. */
export function rendererFiles(directory: string): Files {
  const files = new Map<string, { readonly file: string; readonly type: string }>();
  for (const entry of entries(directory)) {
    const file = path.join(entry.parentPath, entry.name);
    const type = TYPES[path.extname(file)];
    if (entry.isFile() && type !== undefined) {
      files.set(`/${path.relative(directory, file).split(path.sep).join('/')}`, { file, type });
    }
  }
  if (!files.has('/index.html')) {
    throw new Error(`there is no console in ${directory}: expected index.html; npm run setup builds it`);
  }
  return {
    find(pathname) {
      const known = files.get(pathname);
      return known === undefined ? undefined : { body: readFileSync(known.file), type: known.type };
    },
  };
}

function entries(directory: string) {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true });
  } catch {
    return [];
  }
}
