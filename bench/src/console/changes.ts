// SPDX-License-Identifier: Apache-2.0
/**
 * From a change at an agent to the text in the page: of the configuration, applied at the entry, which has it in force at once, as the others
 * have; and of health, a backend that all nodes find to fail, or to be well again, at the same moment. The page says when its text is another
 * one (a MutationObserver), by the same clock: both are programs of this machine.
 */
import { clone } from '@bufbuild/protobuf';
import { changeOf, type SimulatedAgent } from '@marcher/client/testing';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import type { Page } from 'playwright-core';
import { withOpened } from './opened.js';

export interface Times {
  readonly changes: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly maxMs: number;
}

export interface Changes {
  readonly configuration: Times;
  readonly health: Times;
  readonly passed: boolean;
}

export const CHANGE_GOAL_MS = 250;
const SERVICE = 'service-0007';

export async function changesShown(nodes: number, services: number, changes: number): Promise<Changes> {
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ page, simulation }) => {
    await page.evaluate(`location.hash = '#/services?q=${SERVICE}'`);
    await page.getByText(`1 of ${services} services`).waitFor();
    await watchText(page);
    const configuration = await timesOf(page, changes, (i) => configured(simulation.entry, 20_000 + i));
    const health = await timesOf(page, changes / 2, (i) => failing(simulation.agents, i % 2 === 0));
    const passed = configuration.p95Ms < CHANGE_GOAL_MS && health.p95Ms < CHANGE_GOAL_MS;
    return { configuration, health, passed };
  });
}

async function timesOf(page: Page, changes: number, change: (i: number) => Promise<string>): Promise<Times> {
  const times: number[] = [];
  for (let i = 0; i < changes; i++) {
    // At no fixed place between two states.
    await page.waitForTimeout(400 + ((i * 137) % 500));
    const beganMs = performance.timeOrigin + performance.now();
    times.push((await shownAt(page, await change(i), beganMs)) - beganMs);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { changes, p50Ms: at(0.5), p95Ms: at(0.95), maxMs: at(1) };
}

/** What the table said last, and since when, Unix time. */
async function watchText(page: Page): Promise<void> {
  await page.evaluate(`{
    globalThis.said = [];
    const look = () => {
      const text = document.querySelector('.table-body')?.textContent ?? '';
      if (said.at(-1)?.text === text) return;
      said.push({ text, atMs: performance.timeOrigin + performance.now() });
      said.splice(0, said.length - 100);
    };
    new MutationObserver(look).observe(document.querySelector('main'), { childList: true, subtree: true, characterData: true });
  }`);
}

/** The service listens at another port. Gives what is to be shown. */
async function configured(entry: SimulatedAgent, port: number): Promise<string> {
  const service = entry.configuration.service(SERVICE);
  if (service === undefined) throw new Error(`there is no ${SERVICE}`);
  const changed = clone(ServiceSchema, service);
  for (const { ports } of changed.listeners) for (const each of ports) Object.assign(each, { first: port, last: port });
  await entry.calls().config.apply({ change: changeOf([changed]) });
  return String(port);
}

async function failing(agents: readonly SimulatedAgent[], isFailing: boolean): Promise<string> {
  for (const agent of agents) agent.setHealthy(SERVICE, 'b', !isFailing);
  return isFailing ? '1 / 2' : '2 / 2';
}

async function shownAt(page: Page, text: string, beganMs: number): Promise<number> {
  // By asking again: the page's policy lets nothing wait in it that is made of text.
  for (;;) {
    const atMs = (await page.evaluate(
      `said.find(({ text, atMs }) => atMs > ${beganMs} && text.includes('${text}'))?.atMs`,
    )) as number | undefined;
    if (atMs !== undefined) return atMs;
    if (performance.timeOrigin + performance.now() - beganMs > 30_000) throw new Error(`"${text}" was not shown`);
    await page.waitForTimeout(20);
  }
}
