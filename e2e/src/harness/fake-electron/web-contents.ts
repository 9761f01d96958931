// SPDX-License-Identifier: Apache-2.0
/** A page of Chromium as Electron's WebContents: what it asks of its host goes to the app's handlers, and what they say counts. */
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import type { BrowserContext, CDPSession, Page, Route } from 'playwright-core';
import { tell } from './messages.js';
import { toApp, toWeb, WEB } from './origin.js';
import { BINDING, decode, encode, pageWorld, preloadWorld } from './page-scripts.js';

export interface WebPreferences {
  readonly preload?: string;
  readonly sandbox?: boolean;
  readonly contextIsolation?: boolean;
  readonly nodeIntegration?: boolean;
}

export interface WebContentsParts {
  context(): Promise<BrowserContext>;
  /** The answer of an IPC handler. */
  invoke(sender: WebContents, channel: string, given: unknown[]): Promise<unknown>;
  mayBegin(url: string): boolean;
  /** Once, with the page's session of the debugger. */
  prepare(session: CDPSession): Promise<void>;
}

type OpenHandler = (details: { readonly url: string }) => { readonly action: string };

const WORLD = 'preload';

export class WebContents extends EventEmitter {
  readonly #preferences: WebPreferences;
  readonly #parts: WebContentsParts;
  readonly #page: Promise<Page>;
  #session: CDPSession | undefined;
  #world: number | undefined;
  #open: OpenHandler | undefined;
  #url = '';

  constructor(preferences: WebPreferences, parts: WebContentsParts) {
    super();
    const { sandbox, contextIsolation, nodeIntegration } = preferences;
    if (sandbox !== true || contextIsolation !== true || nodeIntegration !== false) {
      throw new Error('this host has sandboxed pages in a world of their own, without Node.js, and no others');
    }
    this.#preferences = preferences;
    this.#parts = parts;
    this.#page = this.#make();
    this.#page.catch(() => undefined);
  }

  get mainFrame() {
    return { url: this.#url, parent: null };
  }

  getURL(): string {
    return this.#url;
  }

  setWindowOpenHandler(handler: OpenHandler): void {
    this.#open = handler;
  }

  /** To what the preload script listens for. */
  send(channel: string, ...given: unknown[]): void {
    this.#run(`__fromHost.sent(${JSON.stringify(channel)}, ${JSON.stringify(encode(given))})`);
  }

  isDestroyed(): boolean {
    return this.#session === undefined;
  }

  async load(address: string): Promise<void> {
    const page = await this.#page;
    await page.goto(toWeb(address), { waitUntil: 'load' });
  }

  async page(): Promise<Page> {
    return await this.#page;
  }

  async #make(): Promise<Page> {
    const context = await this.#parts.context();
    const empty = context.pages().find((each) => each.url() === 'about:blank');
    const page = empty ?? (await context.newPage());
    const session = await context.newCDPSession(page);
    this.#session = session;
    page.on('close', () => {
      this.#session = undefined;
      this.emit('destroyed');
    });
    page.on('framenavigated', (frame) => {
      if (frame === page.mainFrame()) this.#url = toApp(frame.url());
    });
    session.on('Runtime.executionContextCreated', ({ context: { id, name, auxData } }) => {
      const { frameId } = auxData as { frameId?: string };
      if (name === WORLD && frameId === this.#frame) this.#world = id;
    });
    session.on('Runtime.bindingCalled', ({ name, payload, executionContextId }) => {
      if (name === BINDING) void this.#invoked(payload, executionContextId);
    });
    session.on('Page.windowOpen', ({ url }) => {
      const { action } = this.#open?.({ url: toApp(url) }) ?? { action: 'allow' };
      if (action !== 'deny') throw new Error('this host opens no windows for pages');
    });
    await session.send('Page.enable');
    this.#frame = (await session.send('Page.getFrameTree')).frameTree.frame.id;
    const names = { page: `to-page-${randomUUID()}`, preload: `to-preload-${randomUUID()}` };
    await session.send('Runtime.addBinding', { name: BINDING, executionContextName: WORLD });
    await session.send('Page.addScriptToEvaluateOnNewDocument', { source: pageWorld(names) });
    const { preload } = this.#preferences;
    if (preload !== undefined) {
      const source = preloadWorld(names, readFileSync(preload, 'utf8'));
      await session.send('Page.addScriptToEvaluateOnNewDocument', { source, worldName: WORLD });
    }
    await session.send('Runtime.enable');
    await page.route(
      (url) => url.origin !== WEB || url.pathname === '/',
      (route) => this.#begins(route, page),
    );
    await this.#parts.prepare(session);
    return page;
  }
  #frame = '';

  /** A request that may be a navigation, or leave the app. */
  async #begins(route: Route, page: Page): Promise<void> {
    const request = route.request();
    const url = toApp(request.url());
    if (request.isNavigationRequest()) {
      let isPrevented = false;
      const event = { url, preventDefault: () => (isPrevented = true) };
      const isMain = request.frame() === page.mainFrame();
      // Of what the app itself loads there is no event.
      const byApp = isMain && page.url() === 'about:blank';
      if (!byApp) this.emit('will-frame-navigate', event);
      if (isMain && !byApp) this.emit('will-navigate', event);
      if (isPrevented) {
        tell({ kind: 'stopped-navigation', url });
        await route.abort('aborted');
        return;
      }
    }
    if (!this.#parts.mayBegin(url)) {
      await route.abort('failed');
      return;
    }
    await route.continue();
  }

  async #invoked(payload: string, world: number): Promise<void> {
    const { id, channel, given } = JSON.parse(payload) as { id: number; channel: string; given: unknown };
    let failure: string | null = null;
    let value: unknown;
    try {
      value = encode(await this.#parts.invoke(this, channel, decode(given) as unknown[]));
    } catch (error) {
      failure = `Error invoking remote method '${channel}': ${String(error)}`;
    }
    if (id > 0) {
      this.#run(`__fromHost.answered(${id}, ${JSON.stringify(failure)}, ${JSON.stringify(value)})`, world);
    }
  }

  #run(expression: string, contextId: number | undefined = this.#world): void {
    // A page that has gone meanwhile waits for nothing.
    if (contextId !== undefined)
      this.#session?.send('Runtime.evaluate', { expression, contextId }).catch(() => undefined);
  }
}
