// SPDX-License-Identifier: Apache-2.0
/** node run.js MAIN [ARGUMENT...]: runs MAIN as Electron does. Whoever imports "electron" has the module beside this file. */
import { registerHooks } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { loaded } from './loaded.js';

const own = new URL('./electron.js', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'electron' ? { url: own, format: 'module', shortCircuit: true } : next(specifier, context),
});

const [program = '', , main = '', ...rest] = process.argv;
process.argv = [program, main, ...rest];
await import(pathToFileURL(path.resolve(main)).href);
loaded();
