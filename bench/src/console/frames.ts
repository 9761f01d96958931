// SPDX-License-Identifier: Apache-2.0
/** 50 nodes and 5,000 services in the page: from the address to the first paint, and frames while it loads and while it is used. */
import { ConsolePage } from '@marcher/e2e/suites/console/browser';
import { type Frames, watchFrames } from '@marcher/e2e/suites/console/frames';
import { useLargeMesh } from '@marcher/e2e/suites/console/large';
import type { Page } from 'playwright-core';
import { atLowestPriority } from './lowest-priority.js';
import { type MainThread, mainThreadDuring } from './main-thread.js';
import { withOpened } from './opened.js';
import { type Opening, openings } from './openings.js';

export interface PageFrames {
  /** Each in a browser of its own, without a debugger. */
  readonly opened: readonly Opening[];
  /** The same of a mesh that is next to nothing: what is left there is the browser's own start, on this machine. */
  readonly openedSmall: readonly Opening[];
  /** With one: from the address until all nodes are shown, and tasks of the main thread until then. */
  readonly loading: MainThread & { readonly ms: number };
  readonly using: Frames;
  readonly passed: boolean;
}

export const FIRST_PAINT_GOAL_MS = 1_000;
const OPENINGS = 12;
const SMALL = { nodes: 2, services: 10 };

export async function pageFrames(nodes: number, services: number): Promise<PageFrames> {
  const openedSmall = await withOpened({ ...SMALL, backends: 2, moving: 0.01 }, async ({ address, page }) => {
    await page.goto('about:blank');
    return await atLowestPriority(() => openings(address, SMALL.nodes, OPENINGS));
  });
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ address, page }) => {
    // The agents are in this process: those of a mesh run elsewhere.
    const large = await atLowestPriority(() => measured(page, address, nodes, services));
    return { ...large, openedSmall };
  });
}

async function measured(
  page: Page,
  address: string,
  nodes: number,
  services: number,
): Promise<Omit<PageFrames, 'openedSmall'>> {
  const used = await watchFrames(page);
  await useLargeMesh(new ConsolePage(page), services);
  const using = await used();
  // A page that is loaded again is measured with the one before it, which is being taken apart meanwhile.
  await page.goto('about:blank');
  await page.waitForTimeout(2_000);
  let ms = 0;
  const work = await mainThreadDuring(page, async () => {
    const began = performance.now();
    await page.goto(new URL(address).origin, { waitUntil: 'commit' });
    await page.getByText(`all of ${nodes} nodes`).waitFor();
    ms = performance.now() - began;
    await page.waitForTimeout(1_000);
  });
  // The others are to have the machine, and the agents, for themselves.
  await page.goto('about:blank');
  const opened = await openings(address, nodes, OPENINGS);
  const isQuick = opened.every(({ longMs, drawnMs }) => longMs.length === 0 && drawnMs < FIRST_PAINT_GOAL_MS);
  return { opened, loading: { ...work, ms }, using, passed: using.long === 0 && isQuick };
}
