// SPDX-License-Identifier: Apache-2.0
/** A window of the console: what its page may not have, and where it was when it was closed. */
import { makeDirectoryOf, readPrivate, replacePrivate } from '@marcher/client/private-file';
import { z } from 'zod';

/** For Electron's BrowserWindow. preload: absolute path of the bundled script. */
export function windowOptions(preload: string, bounds: Bounds) {
  return {
    ...bounds,
    minWidth: MIN_WIDTH,
    minHeight: MIN_HEIGHT,
    // Shown when its first frame is there, in the colour of that.
    show: false,
    backgroundColor: '#1E1E1E',
    webPreferences: {
      preload,
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      nodeIntegrationInWorker: false,
      nodeIntegrationInSubFrames: false,
      webSecurity: true,
      allowRunningInsecureContent: false,
      webviewTag: false,
      navigateOnDragDrop: false,
      spellcheck: false,
      // What is shown is to be as new when the window comes back.
      backgroundThrottling: false,
    },
  } as const;
}

export interface Bounds {
  /** Absent: in the middle. */
  readonly x?: number;
  readonly y?: number;
  readonly width: number;
  readonly height: number;
}

export interface WindowPlace {
  readonly bounds: Bounds;
  readonly isMaximized: boolean;
}

/** Of Electron's Display: without docks and bars. */
export interface Screen {
  readonly workArea: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
}

const MIN_WIDTH = 800;
const MIN_HEIGHT = 500;
const FILE_MAX_BYTES = 4_096;
/** Of a window's top, on some screen: enough to take hold of it. */
const VISIBLE_WIDTH = 100;
const VISIBLE_HEIGHT = 30;
export const FIRST_PLACE: WindowPlace = { bounds: { width: 1_280, height: 800 }, isMaximized: false };

const pixels = z.int().min(-100_000).max(100_000);
const placeShape = z.object({
  bounds: z.object({ x: pixels, y: pixels, width: pixels.min(MIN_WIDTH), height: pixels.min(MIN_HEIGHT) }),
  isMaximized: z.boolean(),
});

/** Where it was, as far as there are screens for that now. What can't be read is as if it were not there. */
export function readPlace(path: string, screens: readonly Screen[]): WindowPlace {
  let place: WindowPlace;
  try {
    place = placeShape.parse(JSON.parse(readPrivate(path, FILE_MAX_BYTES) ?? ''));
  } catch {
    return FIRST_PLACE;
  }
  const screen = screens.find(({ workArea }) => isWithin(place.bounds, workArea));
  const { width, height } = place.bounds;
  if (screen === undefined) return { bounds: { ...FIRST_PLACE.bounds }, isMaximized: place.isMaximized };
  const { workArea } = screen;
  const fitting = { width: Math.min(width, workArea.width), height: Math.min(height, workArea.height) };
  return { ...place, bounds: { ...place.bounds, ...fitting } };
}

/** Nobody is told where that fails: it is asked for when a window closes. */
export function keepPlace(path: string, place: WindowPlace): void {
  try {
    const text = JSON.stringify(placeShape.parse(place));
    makeDirectoryOf(path);
    replacePrivate(path, text);
  } catch {
    // The next window comes up where this one did.
  }
}

function isWithin({ x, y, width }: Bounds, area: Screen['workArea']): boolean {
  if (x === undefined || y === undefined) return false;
  const visible = Math.min(x + width, area.x + area.width) - Math.max(x, area.x);
  return visible >= VISIBLE_WIDTH && y >= area.y && y <= area.y + area.height - VISIBLE_HEIGHT;
}
