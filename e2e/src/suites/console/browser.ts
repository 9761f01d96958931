// SPDX-License-Identifier: Apache-2.0
/** The console in Debian's Chromium: a page of it, what it complains of, how accessible it is, and pictures. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { REPOSITORY } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';

const CHROMIUM = '/usr/bin/chromium';
export const SHOTS = path.join(REPOSITORY, 'e2e/artefacts/console/pictures');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** What a page asks for when it opens is there then. */
const STEADY_MS = 100;

export type Theme = 'dark' | 'light';

let running: Promise<Browser> | undefined;
let users = 0;

/** One Chromium for all cases that run at once; it ends with the last of them. */
export async function withConsole(
  world: World,
  address: string,
  use: (console: ConsolePage) => Promise<void>,
): Promise<void> {
  await withContext(async (context) => {
    const console_ = await ConsolePage.open(context, address);
    try {
      await use(console_);
    } catch (error) {
      // What was to be seen is most of why.
      await console_.picture('failed').catch(() => undefined);
      throw error;
    }
    world.equal(console_.complaints.join('\n'), '', 'errors in the console of the browser');
  });
}

/** Of a page that is nothing but this, as large as it is. */
export async function pictureOfPage(html: string, name: string): Promise<void> {
  await withContext(async (context) => {
    const page = await context.newPage();
    await page.setContent(html);
    await page.locator('body').screenshot({ path: path.join(SHOTS, `${name}.png`) });
  });
}

async function withContext(use: (context: BrowserContext) => Promise<void>): Promise<void> {
  users++;
  // As root Chromium has no sandbox of its own.
  const args = ['--headless=new', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])];
  running ??= chromium.launch({ executablePath: CHROMIUM, args });
  const browser = await running;
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    colorScheme: 'dark',
    reducedMotion: 'reduce',
  });
  try {
    await use(context);
  } finally {
    await context.close();
    if (--users === 0) {
      running = undefined;
      await browser.close();
    }
  }
}

export class ConsolePage {
  readonly page: Page;
  readonly complaints: string[] = [];

  constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(15_000);
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(String(error.stack ?? error)));
  }

  static async open(context: BrowserContext, address: string): Promise<ConsolePage> {
    const console_ = new ConsolePage(await context.newPage());
    await console_.page.goto(address);
    await console_.page.getByRole('heading', { name: 'Dashboard', level: 1 }).waitFor();
    return console_;
  }

  async goTo(hash: string, heading: string | RegExp): Promise<void> {
    await this.page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
    await this.page.getByRole('heading', { name: heading, level: 1 }).waitFor();
  }

  async theme(theme: Theme): Promise<void> {
    const page = this.page.locator('html');
    if ((await page.getAttribute('data-theme')) === theme) return;
    await this.page.getByRole('button', { name: theme === 'light' ? 'Light' : 'Dark', exact: true }).click();
    await this.page.locator(`html[data-theme='${theme}']`).waitFor({ state: 'attached' });
  }

  async unlock(): Promise<void> {
    await this.page.getByRole('button', { name: 'Read-only: unlock' }).click();
    await this.page.getByRole('button', { name: 'Unlock', exact: true }).click();
  }

  /** As axe finds it, by WCAG 2.2 AA and axe's best practices. */
  async accessible(what: string): Promise<void> {
    await this.page.waitForTimeout(STEADY_MS);
    await this.page.evaluate(AXE);
    const found = (await this.page.evaluate(
      `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
        violations.map(({ id, help, nodes }) => id + ': ' + help + ' at ' + nodes.slice(0, 3).map(({ target, any }) =>
          target.join(' ') + ' ' + any.map(({ message }) => message).join(' ')).join(', ')))`,
    )) as string[];
    for (const one of found) this.complaints.push(`${what}: axe: ${one}`);
  }

  async picture(name: string): Promise<void> {
    await this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }
}
