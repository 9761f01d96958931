// SPDX-License-Identifier: Apache-2.0
// The agent as one file, agent/bundle/main.js: some 900 modules take as much of a start's time as all else together.
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'rolldown';

const OUTPUT = fileURLToPath(new URL('bundle', import.meta.url));

// What a module finds beside itself (workers, children, the tree that it is in) it finds from where tsc has put it.
const ownUrl = {
  name: 'own-url',
  transform: {
    filter: { id: /\/dist\/.*\.js$/, code: 'import.meta.url' },
    handler(code, id) {
      const from = relative(OUTPUT, id);
      return { code: code.replaceAll('import.meta.url', `new URL(${JSON.stringify(from)}, import.meta.url).href`) };
    },
  },
};

export default defineConfig({
  input: fileURLToPath(new URL('dist/main.js', import.meta.url)),
  platform: 'node',
  // Load machine code from their own packages.
  external: ['better-sqlite3', 'koffi', '@node-rs/argon2'],
  plugins: [ownUrl],
  output: { file: fileURLToPath(new URL('bundle/main.js', import.meta.url)), format: 'esm' },
  logLevel: 'warn',
});
