// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { systemAmbient } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { GuardAction, type Object$, ObjectSchema, Priority, Protocol } from '@marcher/proto/marcher/v1/model_pb';
import type { Case, World } from '../../harness/suite.js';
import { type ConsolePage, SHOTS, type Theme } from './browser.js';
import { withSimulated } from './simulated-console.js';

export interface Shot {
  readonly hash: string;
  readonly heading: string | RegExp;
  readonly name: string;
  /** What it has asked for, once it is there. */
  readonly there?: string | RegExp;
}

/** In both themes; named says what the picture is called. */
export async function lookAt(
  console_: ConsolePage,
  { hash, heading, name, there }: Shot,
  named: string,
): Promise<void> {
  await console_.goTo(hash, heading);
  if (there !== undefined) await console_.page.getByText(there).first().waitFor();
  for (const theme of ['dark', 'light'] satisfies Theme[]) {
    await console_.theme(theme);
    await console_.accessible(`${name}, ${theme}`);
    await console_.picture(`${named}-${theme}`);
  }
}

/** A telephone, and half of a screen. */
const WIDTHS = [390, 1_024] as const;

/**
 * What is to the right of the page, and cannot be scrolled to: within tables, texts and pictures that scroll by themselves it can.
 * Names of what sticks out.
 */
export const CUT_OFF = `(() => {
  const scrolls = (element) => {
    for (let at = element.parentElement; at !== null && at !== document.body; at = at.parentElement) {
      if (at.tagName !== 'MAIN' && /auto|scroll|hidden|clip/.test(getComputedStyle(at).overflowX)) return true;
    }
    return false;
  };
  const out = [...document.querySelectorAll('body *')].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && (box.right > innerWidth + 1 || box.left < -1) &&
      !element.closest('.unseen, .skip, .side-word') && !scrolls(element);
  });
  const main = document.querySelector('main');
  const wide = main !== null && main.scrollWidth > main.clientWidth + 1 ? ['main itself'] : [];
  return [...wide, ...out.slice(0, 5).map((element) =>
    element.tagName.toLowerCase() + '.' + element.className + ' "' + (element.textContent ?? '').slice(0, 40) + '"')];
})()`;

const PAGES: readonly Shot[] = [
  { hash: '#/', heading: 'Dashboard', name: 'dashboard' },
  { hash: '#/services', heading: 'Services', name: 'services' },
  { hash: '#/services/service-0001', heading: /service-0001/, name: 'service' },
  { hash: '#/proxies', heading: 'Proxies', name: 'proxies' },
  { hash: '#/proxies/8a3f0c61d2e90002', heading: /node02/, name: 'proxy' },
  { hash: '#/connections', heading: 'Connections', name: 'connections', there: '198.51.100.1:40000' },
  { hash: '#/logs', heading: 'Logs', name: 'logs', there: 'tcp 198.51.100.7:40112' },
  { hash: '#/latency', heading: 'Latency', name: 'latency', there: 'service-0001' },
  { hash: '#/shaping/gold', heading: 'Traffic Shaping', name: 'shaping', there: 'Policy gold' },
  { hash: '#/guards/edge', heading: 'Guards', name: 'guards', there: 'Guard edge' },
  { hash: '#/clusters/eu', heading: 'Clusters', name: 'clusters', there: 'Cluster eu' },
  { hash: '#/certificates/web', heading: 'Certificates', name: 'certificates', there: 'Certificate web' },
  { hash: '#/access/user:alice', heading: 'Users and Keys', name: 'access', there: 'User alice' },
  { hash: '#/mesh', heading: 'Mesh', name: 'mesh', there: '5a0b7d1e93c4f286' },
  { hash: '#/conflicts', heading: 'Conflicts', name: 'conflicts' },
  { hash: '#/history', heading: 'History', name: 'history' },
  { hash: '#/audit', heading: 'Audit Log', name: 'audit' },
];

export const pages: readonly Case[] = [
  {
    name: 'every page in both themes and three widths: no error, nothing that axe finds, nothing cut off',
    limitSeconds: 240,
    run: async (world: World) => {
      mkdirSync(SHOTS, { recursive: true });
      const simulation = simulatedAgents({
        nodes: 5,
        services: 40,
        backends: 3,
        ambient: systemAmbient(),
        moving: 0.5,
      });
      simulation.agents[1]?.setHealthy('service-0001', 'b', false);
      simulation.entry.traffic.setRate('service-0001', 12, Date.now());
      await simulation.reach.entry.config.apply({ change: { upsertObjects: [...OBJECTS] } });
      await withSimulated(world, simulation, async (console_) => {
        await console_.page.getByText('all of 5 nodes').waitFor();
        const { page } = console_;
        for (const shot of PAGES) {
          const { name } = shot;
          await lookAt(console_, shot, name);
          for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: 844 });
            // Charts take a frame or two to follow.
            await page.waitForFunction(`${CUT_OFF}.length === 0`, undefined, { timeout: 2_000 }).catch(() => undefined);
            const cut = (await page.evaluate(CUT_OFF)) as string[];
            world.equal(cut.join(', '), '', `cut off of ${name} at ${width} px`);
            await console_.picture(`${name}-${width}`);
          }
          await page.setViewportSize({ width: 1_440, height: 900 });
        }
        await page.getByRole('button', { name: 'Account' }).click();
        const account = page.getByRole('dialog', { name: 'Account' });
        await account.getByText('root (uid 0)').waitFor();
        await account.getByText(/^This page is served by a gateway/).waitFor();
        await console_.accessible('account');
        world.equal(await account.getByRole('button', { name: 'Log in' }).count(), 0, 'a login in a browser');
      });
    },
  },
  {
    name: 'what a cell has no room for: whole below the table of the row that keys choose, and under the pointer',
    run: async (world: World) => {
      const simulation = simulatedAgents({ nodes: 2, services: 3, backends: 2, ambient: systemAmbient() });
      await simulation.reach.entry.config.apply({ change: { upsertObjects: [...OBJECTS] }, message: LONG });
      await withSimulated(world, simulation, async (console_) => {
        const { page } = console_;
        await console_.goTo('#/history', 'History');
        const grid = page.getByRole('grid', { name: 'Versions' });
        const whole = page.locator('.table-cut');
        const cell = grid.getByRole('gridcell', { name: LONG });
        await cell.waitFor();
        await grid.focus();
        world.equal(await whole.count(), 0, 'texts before a row is chosen');
        await grid.press('j');
        await whole.getByText(LONG, { exact: true }).waitFor();
        world.equal(await whole.locator('dt').allTextContents().then(String), 'Message', 'columns that are cut');
        const focused = await page.evaluate(`document.activeElement.getAttribute('aria-label')`);
        world.equal(focused, 'Versions', 'what has the focus');
        await console_.accessible('a text below its table');
        await grid.press('j');
        await whole.waitFor({ state: 'detached' });
        world.equal(await cell.getAttribute('title'), null, 'a title before the pointer is there');
        await cell.hover();
        world.equal(await cell.getAttribute('title'), LONG, 'under the pointer');
        const author = grid.getByRole('gridcell', { name: 'simulated' }).first();
        await author.hover();
        world.equal(await author.getAttribute('title'), null, 'of a cell that is whole');
        await page.setViewportSize({ width: 390, height: 844 });
        await grid.press('k');
        await whole.getByText(LONG, { exact: true }).waitFor();
        world.equal(((await page.evaluate(CUT_OFF)) as string[]).join(', '), '', 'cut off at 390 px');
      });
    },
  },
];

/** More than a column is wide. */
const LONG = `Black Friday: ${'twice the backends and '.repeat(8)}limits as they were in June`;

const OBJECTS: readonly Object$[] = [
  create(ObjectSchema, {
    object: {
      case: 'trafficPolicy',
      value: { name: 'gold', priority: Priority.P1, ingress: { rate: 100_000_000n }, egress: { rate: 400_000_000n } },
    },
  }),
  create(ObjectSchema, {
    object: {
      case: 'guard',
      value: {
        name: 'edge',
        rules: [
          { action: GuardAction.DENY, sources: ['203.0.113.0/24', '2001:db8:bad::/48'] },
          {
            action: GuardAction.ALLOW,
            sources: ['192.0.2.0/24'],
            protocol: Protocol.TCP,
            ports: [{ first: 22, last: 22 }],
          },
        ],
        sourceLimits: { packetsPerSecond: 20_000n, connectionsPerSecond: 200n },
        synCookies: {},
      },
    },
  }),
];
