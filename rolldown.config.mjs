// SPDX-License-Identifier: Apache-2.0
// The executables, each as few files: looking up and reading hundreds of modules takes longer than what a command does, and
// most of an agent's start. bin/marcherd and bin/marcher run what is in bundle/ unless something was compiled since.
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'rolldown';

const path = (from) => fileURLToPath(new URL(from, import.meta.url));

// What a module finds beside itself (workers, children, the tree that it is in) it finds from where tsc has put it.
const ownUrl = (output) => ({
  name: 'own-url',
  transform: {
    filter: { id: /\/dist\/.*\.js$/, code: 'import.meta.url' },
    handler: (code, id) => ({
      code: code.replaceAll(
        'import.meta.url',
        `new URL(${JSON.stringify(relative(output, id))}, import.meta.url).href`,
      ),
    }),
  },
});

const bundle = (workspace) =>
  defineConfig({
    input: { main: path(`${workspace}/dist/main.js`) },
    platform: 'node',
    // They load machine code from beside themselves (ssh2: where that was built).
    external: ['better-sqlite3', 'koffi', '@node-rs/argon2', 'ssh2'],
    plugins: [ownUrl(path(`${workspace}/bundle`))],
    // Names that stay, so that a build leaves nothing of the one before.
    output: { dir: path(`${workspace}/bundle`), format: 'esm', chunkFileNames: '[name].js', cleanDir: true },
    logLevel: 'warn',
  });

// A module has no __dirname. ssh2 asks for it where it would find a program that speaks with PuTTY's agent, which nothing here
// starts, and before it decodes the WebAssembly that it has within itself.
const withoutDirectory = {
  name: 'without-directory',
  transform: {
    filter: { id: /\/ssh2\/lib\/.*\.js$/, code: '__dirname' },
    handler: (code) => ({ code: code.replaceAll('__dirname', '"."') }),
  },
};

// The desktop console's main process; ssh2 is within, without its machine code, which it does without.
const consoleMain = defineConfig({
  input: { main: path('console/dist/main/main.js') },
  platform: 'node',
  external: ['electron', '@lydell/node-pty', 'cpu-features', /\.node$/],
  plugins: [withoutDirectory],
  output: { dir: path('console/bundle'), format: 'esm', chunkFileNames: '[name].js', cleanDir: true },
  logLevel: 'warn',
});

// And its preload script, which is in the renderer's sandbox: one file of CommonJS.
const consolePreload = defineConfig({
  input: path('console/dist/preload/preload.js'),
  platform: 'browser',
  external: ['electron'],
  output: { file: path('console/bundle/preload.cjs'), format: 'cjs' },
  logLevel: 'warn',
});

// And the process that has its ptys, whose machine code is beside node-pty.
const consolePty = defineConfig({
  input: path('console/dist/pty/main.js'),
  platform: 'node',
  external: ['@lydell/node-pty'],
  output: { file: path('console/bundle/pty.cjs'), format: 'cjs' },
  logLevel: 'warn',
});

export default [bundle('agent'), bundle('tui'), consoleMain, consolePreload, consolePty];
