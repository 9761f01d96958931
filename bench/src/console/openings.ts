// SPDX-License-Identifier: Apache-2.0
/**
 * The page as it is opened by somebody: in a browser of its own, with an empty profile, to which no debugger is attached until everything has
 * been drawn. (V8 parses a program once more for each Error that is made before the first paint while it is debugged, and React makes one.)
 * The browser keeps account of its long frames by itself, and is asked afterwards.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { REPOSITORY, Scope, until } from '@marcher/e2e/harness/scope';
import { FRAME_GOAL_MS } from '@marcher/e2e/suites/console/frames';
import { chromium, type Page } from 'playwright-core';
import { CHROMIUM } from './opened.js';

export interface Opening {
  /** Of the words that stand there until the program is loaded. */
  readonly firstContentfulPaintMs: number;
  /** After the first frame of the console itself. */
  readonly drawnMs: number;
  /**
   * ms, of the frames above 50 ms. Of one in which the browser waits for the style sheet, without which it draws nothing, and has nothing else to
   * do: from when that is there.
   */
  readonly longMs: readonly number[];
}

/** A browser that has just been started does its own work first. */
const STARTED_MS = 3_000;
/** Twice what 50 nodes with 5,000 services take. */
const LOADED_MS = 10_000;
const START_TIMEOUT_MS = 30_000;

/** One after the other. `address`: with the token. `nodes`: that the page shows in the end, else nothing was measured. */
export async function openings(address: string, nodes: number, times: number): Promise<readonly Opening[]> {
  const made: Opening[] = [];
  for (let each = 0; each < times; each++) made.push(await opening(address, nodes));
  return made;
}

async function opening(address: string, nodes: number): Promise<Opening> {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-console'));
  const profile = path.join(scope.dir, 'profile');
  try {
    const argv = [
      ...[CHROMIUM, '--headless=new', `--user-data-dir=${profile}`, '--remote-debugging-port=0'],
      '--window-size=1440,987',
      // As root it has no sandbox of its own.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      'about:blank',
    ];
    // In a session of its own, as that of a desktop: the benchmark's has the lowest priority.
    scope.spawn(['setsid', ...argv], { log: 'chromium.log' });
    const debugAddress = `http://127.0.0.1:${await debugPort(profile)}`;
    await wait(STARTED_MS);
    const answer = await fetch(`${debugAddress}/json/new?${encodeURIComponent(address)}`, { method: 'PUT' });
    if (!answer.ok) throw new Error(`Chromium has opened no page: ${answer.status} ${await answer.text()}`);
    await wait(LOADED_MS);
    const debugged = await chromium.connectOverCDP(debugAddress);
    const { origin } = new URL(address);
    const page = debugged
      .contexts()
      .flatMap((context) => context.pages())
      .find((candidate) => candidate.url().startsWith(origin));
    if (page === undefined) throw new Error(`Chromium shows no page of ${origin}`);
    await page.getByText(`all of ${nodes} nodes`).waitFor({ timeout: 1_000 });
    return await account(page);
  } finally {
    await scope.close();
  }
}

async function debugPort(profile: string): Promise<number> {
  const file = path.join(profile, 'DevToolsActivePort');
  return await until(
    'Chromium to say where it is debugged',
    () => Number.parseInt(readFileSync(file, 'utf8'), 10) || undefined,
    START_TIMEOUT_MS,
  );
}

interface Account {
  readonly paint?: number;
  readonly drawn?: number;
  /** Begin and end. */
  readonly frames: readonly (readonly [number, number])[];
  readonly styled?: number;
  readonly visibility: string;
}

async function account(page: Page): Promise<Opening> {
  const { paint, drawn, frames, styled, visibility } = (await page.evaluate(`(async () => {
    const frames = await new Promise((resolve) => {
      new PerformanceObserver((list) => resolve(list.getEntries())).observe({ type: 'long-animation-frame', buffered: true });
      // Of none nobody tells.
      setTimeout(() => resolve([]), 1_000);
    });
    return {
      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
      drawn: performance.getEntriesByName('shell')[0]?.startTime,
      frames: frames.map(({ startTime, duration }) => [startTime, startTime + duration]),
      styled: performance.getEntriesByType('resource').find(({ name }) => name.endsWith('.css'))?.responseEnd,
      visibility: document.visibilityState,
    };
  })()`)) as Account;
  if (paint === undefined || drawn === undefined || styled === undefined || visibility !== 'visible')
    throw new Error(`the page was ${visibility}: styled at ${styled}, painted at ${paint}, drawn at ${drawn}`);
  const longMs = frames
    .map(([begin, end]) => end - (begin < styled && styled < end ? styled : begin))
    .filter((duration) => duration > FRAME_GOAL_MS);
  return { firstContentfulPaintMs: paint, drawnMs: drawn, longMs };
}
