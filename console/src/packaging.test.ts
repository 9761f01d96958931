// SPDX-License-Identifier: Apache-2.0
/** electron-builder.yml, which stands where the project's owner wants it. A key that electron-builder does not know fails its build. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

const config = parse(readFileSync(join(import.meta.dirname, '../../electron-builder.yml'), 'utf8'));

const manifest = (file: string) => JSON.parse(readFileSync(join(import.meta.dirname, '..', file), 'utf8'));

test('the packages are those that are promised', () => {
  expect(config.linux.target).toEqual(['AppImage', 'deb']);
  expect(config.mac.target).toEqual(['dmg']);
  expect(config.win.target).toEqual(['nsis']);
});

test('nothing updates itself: there is nowhere to publish to', () => {
  expect(config.publish).toBeNull();
  for (const platform of ['linux', 'mac', 'win', 'deb', 'nsis']) expect(config[platform]).not.toHaveProperty('publish');
});

test('every fuse is set: the binary runs the console alone, from its archive, and is no Node.js', () => {
  expect(config.electronFuses).toEqual({
    runAsNode: false,
    enableCookieEncryption: true,
    enableNodeOptionsEnvironmentVariable: false,
    enableNodeCliInspectArguments: false,
    enableEmbeddedAsarIntegrityValidation: true,
    onlyLoadAppFromAsar: true,
    loadBrowserProcessSpecificV8Snapshot: false,
    grantFileProtocolExtraPrivileges: false,
  });
  expect(config.asar).toBe(true);
});

test('only what is bundled is packed', () => {
  expect(config.directories.app).toBe('console');
  expect(config.files).toEqual(['package.json', 'bundle/**', 'web/**', '!**/*.map', '!**/.made']);
  const { dependencies, main } = manifest('package.json');
  expect(Object.keys(dependencies)).toEqual(['@lydell/node-pty']);
  expect(main).toBe('bundle/main.js');
});

test('what packs is of one version, and comes from whichever registry npm has', () => {
  const { devDependencies } = manifest('packaging/package.json');
  expect(devDependencies).toEqual({ 'electron-builder': expect.stringMatching(/^\d+\.\d+\.\d+$/) });
  const { packages } = manifest('packaging/package-lock.json');
  expect(packages['node_modules/electron-builder'].version).toBe(devDependencies['electron-builder']);
  expect(Object.values<object>(packages).filter((each) => 'resolved' in each)).toEqual([]);
  // electron-builder takes Electron's version from here.
  expect(manifest('package.json').devDependencies.electron).toMatch(/^\d+\.\d+\.\d+$/);
});
