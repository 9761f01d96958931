// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { startMesh } from './arguments.js';
import { menuTemplate } from './menu.js';

test('tools of developers are in a checkout alone', () => {
  const menu = (isPackaged: boolean) => JSON.stringify(menuTemplate({ isMac: false, isPackaged }));
  expect(menu(false)).toContain('toggleDevTools');
  expect(menu(true)).not.toMatch(/DevTools|forceReload/i);
  for (const isMac of [true, false]) {
    const roles = menuTemplate({ isMac, isPackaged: true }).map(({ role }) => role);
    expect(roles).toContain('editMenu');
    expect(roles.includes('appMenu')).toBe(isMac);
  }
});

test.each([
  ['nothing', ['marcher-console'], undefined],
  ['a name', ['marcher-console', '-t', 'prod'], 'prod'],
  ['with options of Chromium', ['electron', 'console', '--no-sandbox', '--target=lab.eu', '--inspect'], 'lab.eu'],
  ['what is no name', ['marcher-console', '-t', '../prod'], undefined],
  ['an address', ['marcher-console', '--target', 'https://192.0.2.1:7443'], undefined],
  ['no name behind it', ['marcher-console', '-t'], undefined],
])('the mesh of a command line: %s', (_what, argv, mesh) => {
  expect(startMesh(argv)).toBe(mesh);
});
