// SPDX-License-Identifier: Apache-2.0
/** electron-builder.yml as electron-builder itself reads and judges it before a build, and whether what it packs is there. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(import.meta.url);
const { getConfig, validateConfiguration } = require('app-builder-lib/out/util/config/config');
const { DebugLogger } = require('builder-util');

const repository = path.join(import.meta.dirname, '../..');
try {
  const config = await getConfig(repository, 'electron-builder.yml', null);
  await validateConfiguration(config, new DebugLogger(false));
  const { version } = require('electron-builder/package.json');
  console.log(`electron-builder.yml: electron-builder ${version} takes it`);
  const { homepage } = require(path.join(repository, 'console/package.json'));
  if (homepage === undefined || config.linux?.maintainer === undefined) {
    console.log(
      'a deb needs "homepage" in console/package.json and linux.maintainer with an address: neither is there yet',
    );
  }
  for (const made of ['console/bundle/main.js', 'console/bundle/preload.cjs', 'console/web/index.html']) {
    if (!existsSync(path.join(repository, made))) console.log(`${made} is not there yet: npm run setup makes it`);
  }
} catch (error) {
  console.error(`electron-builder.yml can't be used: ${error.message}`);
  process.exitCode = 1;
}
