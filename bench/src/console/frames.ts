// SPDX-License-Identifier: Apache-2.0
/** 50 nodes and 5,000 services in the page: from the address to the first paint, and frames while it loads and while it is used. */
import { ConsolePage } from '@marcher/e2e/suites/console/browser';
import { type Frames, watchFrames } from '@marcher/e2e/suites/console/frames';
import { useLargeMesh } from '@marcher/e2e/suites/console/large';
import type { Page } from 'playwright-core';
import { atLowestPriority } from './lowest-priority.js';
import { type MainThread, mainThreadDuring } from './main-thread.js';
import { withOpened } from './opened.js';

export interface PageFrames {
  readonly firstContentfulPaintMs: number;
  /** From the address until all nodes are shown. */
  readonly loading: Frames & { readonly ms: number };
  /** Of another load. */
  readonly work: MainThread;
  readonly using: Frames;
  readonly passed: boolean;
}

export const FIRST_PAINT_GOAL_MS = 1_000;

export async function pageFrames(nodes: number, services: number): Promise<PageFrames> {
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ page }) => {
    // The agents are in this process: those of a mesh run elsewhere.
    return await atLowestPriority(() => measured(page, nodes, services));
  });
}

async function measured(page: Page, nodes: number, services: number): Promise<PageFrames> {
  const loads = async (): Promise<void> => {
    await page.getByText(`all of ${nodes} nodes`).waitFor();
    await page.waitForTimeout(1_000);
  };
  const began = await opened(page);
  const loaded = await watchFrames(page);
  await loads();
  const loading = { ...(await loaded()), ms: performance.now() - began - 1_000 };
  const firstContentfulPaintMs = (await page.evaluate(
    `performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0`,
  )) as number;
  const used = await watchFrames(page);
  await useLargeMesh(new ConsolePage(page), services);
  const using = await used();
  const work = await mainThreadDuring(page, async () => {
    await opened(page);
    await loads();
  });
  const passed = using.long === 0 && loading.long === 0 && firstContentfulPaintMs < FIRST_PAINT_GOAL_MS;
  return { firstContentfulPaintMs, loading, work, using, passed };
}

/** As by somebody who opens the console: of a page that is loaded again the one before it is being taken apart meanwhile. Gives when. */
async function opened(page: Page): Promise<number> {
  const { origin } = new URL(page.url());
  await page.goto('about:blank');
  await page.waitForTimeout(2_000);
  const began = performance.now();
  await page.goto(origin, { waitUntil: 'commit' });
  return began;
}
