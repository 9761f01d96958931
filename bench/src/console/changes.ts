// SPDX-License-Identifier: Apache-2.0
/**
 * From a change at an agent to the text in the page. A change is applied at the entry, which has it in force at once, as the others have; the page
 * says when its text is another one (a MutationObserver), by the same clock: both are programs of this machine.
 */
import { clone } from '@bufbuild/protobuf';
import { changeOf, type SimulatedAgent } from '@marcher/client/testing';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import type { Page } from 'playwright-core';
import { withOpened } from './opened.js';

export interface Changes {
  readonly changes: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly maxMs: number;
  readonly passed: boolean;
}

export const CHANGE_GOAL_MS = 250;
const SERVICE = 'service-0007';

export async function changesShown(nodes: number, services: number, changes: number): Promise<Changes> {
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ page, simulation }) => {
    await page.evaluate(`location.hash = '#/services?q=${SERVICE}'`);
    await page.getByText(`1 of ${services} services`).waitFor();
    await watchText(page);
    const times: number[] = [];
    for (let i = 0; i < changes; i++) {
      // At no fixed place between two states.
      await page.waitForTimeout(400 + ((i * 137) % 500));
      times.push(await shown(page, simulation.entry, 20_000 + i));
    }
    times.sort((a, b) => a - b);
    const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
    const p95Ms = at(0.95);
    return { changes, p50Ms: at(0.5), p95Ms, maxMs: at(1), passed: p95Ms < CHANGE_GOAL_MS };
  });
}

/** When each text of the table was there first, Unix time. */
async function watchText(page: Page): Promise<void> {
  await page.evaluate(`{
    globalThis.seenAt = new Map();
    const look = () => {
      const text = document.querySelector('.table-body')?.textContent ?? '';
      for (const [port] of text.matchAll(/2\\d{4}/g)) if (!seenAt.has(port)) seenAt.set(port, performance.timeOrigin + performance.now());
    };
    new MutationObserver(look).observe(document.querySelector('main'), { childList: true, subtree: true, characterData: true });
  }`);
}

/** The service listens at another port. */
async function shown(page: Page, entry: SimulatedAgent, port: number): Promise<number> {
  const service = entry.configuration.service(SERVICE);
  if (service === undefined) throw new Error(`there is no ${SERVICE}`);
  const changed = clone(ServiceSchema, service);
  for (const { ports } of changed.listeners) for (const each of ports) Object.assign(each, { first: port, last: port });
  const calls = entry.calls();
  const beganMs = performance.timeOrigin + performance.now();
  await calls.config.apply({ change: changeOf([changed]) });
  // By asking again: the page's policy lets nothing wait in it that is made of text.
  for (;;) {
    const atMs = (await page.evaluate(`seenAt.get('${port}')`)) as number | undefined;
    if (atMs !== undefined) return atMs - beganMs;
    if (performance.timeOrigin + performance.now() - beganMs > 30_000) throw new Error(`port ${port} was not shown`);
    await page.waitForTimeout(20);
  }
}
