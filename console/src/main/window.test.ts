// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FIRST_PLACE, keepPlace, readPlace, windowOptions } from './window.js';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-window-'));
  path = join(directory, 'state', 'window.json');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const laptop = { workArea: { x: 0, y: 25, width: 1_440, height: 875 } };
const second = { workArea: { x: 1_440, y: 0, width: 1_920, height: 1_080 } };
const place = { bounds: { x: 1_500, y: 100, width: 1_200, height: 900 }, isMaximized: false };

test('a page has no Node.js, no other world and no other window', () => {
  const { webPreferences } = windowOptions('/opt/marcher/preload.cjs', FIRST_PLACE.bounds);
  expect(webPreferences).toMatchObject({
    sandbox: true,
    contextIsolation: true,
    nodeIntegration: false,
    nodeIntegrationInWorker: false,
    nodeIntegrationInSubFrames: false,
    webSecurity: true,
    allowRunningInsecureContent: false,
    webviewTag: false,
  });
});

describe('where a window was', () => {
  test('it is again', () => {
    keepPlace(path, place);
    expect(readPlace(path, [laptop, second])).toEqual(place);
    keepPlace(path, { ...place, isMaximized: true });
    expect(readPlace(path, [laptop, second]).isMaximized).toBe(true);
  });

  test('but not on a screen that is gone, nor where its title can not be reached', () => {
    keepPlace(path, place);
    expect(readPlace(path, [laptop])).toEqual(FIRST_PLACE);
    for (const bounds of [
      { ...place.bounds, x: 3_350 },
      { ...place.bounds, y: -10 },
      { ...place.bounds, y: 1_070 },
    ]) {
      keepPlace(path, { ...place, bounds });
      expect(readPlace(path, [laptop, second])).toEqual(FIRST_PLACE);
    }
  });

  test('no larger than its screen is now', () => {
    keepPlace(path, { bounds: { x: 10, y: 30, width: 2_000, height: 1_500 }, isMaximized: false });
    expect(readPlace(path, [laptop]).bounds).toEqual({ x: 10, y: 30, width: 1_440, height: 875 });
  });

  test.each([
    '',
    'nonsense',
    '{}',
    '{"bounds":{"x":1e9,"y":0,"width":900,"height":900},"isMaximized":false}',
    '[null]',
  ])('a file with %j in it is as none', (text) => {
    keepPlace(path, place);
    writeFileSync(path, text);
    expect(readPlace(path, [laptop, second])).toEqual(FIRST_PLACE);
  });

  test('what can not be kept is let go', () => {
    writeFileSync(join(directory, 'state'), '');
    expect(() => keepPlace(path, place)).not.toThrow();
    expect(() => keepPlace(path, { ...place, bounds: { width: 10, height: 10 } })).not.toThrow();
    expect(readPlace(path, [laptop])).toEqual(FIRST_PLACE);
  });
});
