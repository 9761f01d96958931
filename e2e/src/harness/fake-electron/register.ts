// SPDX-License-Identifier: Apache-2.0
/** node --import THIS main.js: whoever imports "electron" has the module beside this file. */
import { registerHooks } from 'node:module';

const own = new URL('./electron.js', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'electron' ? { url: own, format: 'module', shortCircuit: true } : next(specifier, context),
});
