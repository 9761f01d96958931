// SPDX-License-Identifier: Apache-2.0
/** The whole main process on a small host in Electron's place. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Handlers } from '../ipc/contract.js';
import { METHODS, type Method } from '../ipc/names.js';
import { exposeBridge } from '../preload/bridge.js';
import { startMesh } from './arguments.js';
import { type Host, startDesktop, type Window } from './desktop.js';
import type { Invocation } from './ipc-server.js';
import type { Contents } from './navigation.js';
import type { RendererSession } from './permissions.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-desktop-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

type Listener = (...parameters: never[]) => unknown;

/** What a program on Electron sees of it, and what a person and a page do. */
class FakeElectron {
  readonly done: string[] = [];
  readonly windows: FakeWindow[] = [];
  readonly opened: string[] = [];
  readonly #listeners = new Map<string, Listener>();
  readonly #ipc = new Map<string, (event: Invocation, ...parameters: unknown[]) => Promise<unknown>>();
  #serve: ((request: Request) => Promise<Response>) | undefined;
  readonly host: Host;

  constructor(isFirst = true) {
    const electron = this;
    this.host = {
      app: {
        requestSingleInstanceLock: () => isFirst,
        quit: () => this.done.push('quit'),
        whenReady: async () => this.done.push('ready'),
        enableSandbox: () => this.done.push('sandbox'),
        on: (event: string, listener: Listener) => this.#listeners.set(event, listener),
      },
      protocol: {
        registerSchemesAsPrivileged: () => this.done.push('scheme'),
        handle: (scheme, handler) => {
          this.done.push(`handle ${scheme}`);
          this.#serve = handler;
        },
      },
      session: {
        defaultSession: new Proxy({} as RendererSession, {
          get: (_target, name) =>
            name === 'webRequest' ? { onBeforeRequest() {} } : () => this.done.push(`session ${String(name)}`),
        }),
      },
      ipcMain: { handle: (channel, listener) => this.#ipc.set(channel, listener) },
      screen: { getAllDisplays: () => [{ workArea: { x: 0, y: 0, width: 1_920, height: 1_080 } }] },
      shell: { openExternal: async (url) => void this.opened.push(url) },
      BrowserWindow: class extends FakeWindow {
        constructor(options: object) {
          super(options);
          electron.windows.push(this);
          electron.happens('web-contents-created', {}, this.webContents);
        }
        static getAllWindows(): readonly Window[] {
          return electron.windows.filter(({ isOpen }) => isOpen);
        }
      },
    };
  }

  happens(event: string, ...parameters: unknown[]): void {
    this.#listeners.get(event)?.(...(parameters as never[]));
  }

  /** As the page of the console asks. */
  async page(method: Method, ...parameters: unknown[]): Promise<unknown> {
    const bridge: Record<string, (...each: unknown[]) => Promise<unknown>> = {};
    exposeBridge(
      { exposeInMainWorld: (_name, api) => Object.assign(bridge, api) },
      {
        invoke: async (channel, ...given) =>
          await this.#ipc.get(channel)?.({ senderFrame: { url: 'app://agent/', parent: null } }, ...given),
      },
    );
    return await bridge[method]?.(...parameters);
  }

  async loads(path: string): Promise<Response | undefined> {
    return await this.#serve?.(new Request(`app://agent${path}`));
  }
}

class FakeWindow implements Window {
  readonly done: string[] = [];
  readonly listeners = new Map<string, () => void>();
  readonly options: { webPreferences?: object; width?: number; x?: number };
  isOpen = true;
  opensWindows: ((details: { url: string }) => { action: 'deny' }) | undefined;

  constructor(options: object) {
    this.options = options;
  }
  readonly webContents = {
    on: () => undefined,
    setWindowOpenHandler: (handler: typeof this.opensWindows) => {
      this.opensWindows = handler;
    },
  } as unknown as Contents;
  async loadURL(address: string): Promise<void> {
    this.done.push(`load ${address}`);
  }
  once(event: string, listener: () => void): void {
    this.listeners.set(event, listener);
  }
  on(event: string, listener: () => void): void {
    this.listeners.set(event, listener);
  }
  show(): void {
    this.done.push('show');
  }
  focus(): void {
    this.done.push('focus');
  }
  restore(): void {
    this.done.push('restore');
  }
  maximize(): void {
    this.done.push('maximize');
  }
  isMinimized(): boolean {
    return true;
  }
  isMaximized(): boolean {
    return true;
  }
  getNormalBounds() {
    return { x: 40, y: 50, width: 900, height: 700 };
  }
  close(): void {
    this.listeners.get('close')?.();
    this.isOpen = false;
  }
}

async function start(electron: FakeElectron): Promise<FakeElectron> {
  await startDesktop(electron.host, {
    files: {
      find: (name) => (name === '/index.html' ? { body: Buffer.from('console'), type: 'text/html' } : undefined),
    },
    agents: {
      open: async () => new PassThrough(),
      answer: async (body) => ({ status: 200, headers: {}, body }),
      giveUp: (stream) => void stream.destroy(),
    },
    handlers: {
      ...(Object.fromEntries(METHODS.map((method) => [method, () => undefined])) as unknown as Handlers),
      meshes: () => [],
      chooseMesh: () => undefined,
      vaultState: () => 'new',
      openVault: () => 'open',
      closeVault: () => 'locked',
      forgetSecrets: () => 'new',
      nextQuestion: () => ({ id: 1, title: 'Passphrase', text: [], fields: [], action: 'Go on', mayKeep: false }),
      answerQuestion: () => undefined,
    },
    argv: ['marcher-console'],
    meshOf: startMesh,
    logger: { warn() {}, error() {} },
    preload: '/opt/marcher/preload.cjs',
    windowFile: join(directory, 'window.json'),
  });
  return electron;
}

test('the scheme and the sandbox are there before the app is ready, the session before the window', async () => {
  const { done, windows } = await start(new FakeElectron());
  expect(done.slice(0, 3)).toEqual(['sandbox', 'scheme', 'ready']);
  expect(done).toContain('session setPermissionRequestHandler');
  expect(done.at(-1)).toBe('handle app');
  expect(windows).toHaveLength(1);
  expect(windows[0]?.options.webPreferences).toMatchObject({ sandbox: true, preload: '/opt/marcher/preload.cjs' });
  expect(windows[0]?.done).toEqual(['load app://agent/']);
});

test('the page comes from app://, asks by the bridge, and opens links in the browser alone', async () => {
  const electron = await start(new FakeElectron());
  expect(await (await electron.loads('/'))?.text()).toBe('console');
  expect(await electron.page('vaultState')).toBe('new');
  await electron.page('openLink', 'https://example.com/docs');
  await expect(electron.page('openLink', 'file:///bin/sh')).rejects.toThrow(/does not take/);
  expect(electron.windows[0]?.opensWindows?.({ url: 'https://example.com/more' })).toEqual({ action: 'deny' });
  expect(electron.opened).toEqual(['https://example.com/docs', 'https://example.com/more']);
});

test('a second instance shows the window of the first, and quits', async () => {
  const second = await start(new FakeElectron(false));
  expect(second.done).toEqual(['quit']);
  const first = await start(new FakeElectron());
  first.happens('second-instance', {}, ['marcher-console']);
  expect(first.windows).toHaveLength(1);
  expect(first.windows[0]?.done.slice(-2)).toEqual(['restore', 'focus']);
  first.happens('second-instance', {}, ['marcher-console', '--some-of-chromium', '--target', 'lab']);
  expect(first.windows[0]?.done.at(-1)).toBe('load app://agent/?mesh=lab');
});

test('a window comes back where it was', async () => {
  const electron = await start(new FakeElectron());
  electron.windows[0]?.close();
  electron.happens('activate');
  const again = electron.windows[1];
  expect(again?.options).toMatchObject({ x: 40, y: 50, width: 900, height: 700 });
  again?.listeners.get('ready-to-show')?.();
  expect(again?.done).toEqual(['load app://agent/', 'maximize', 'show']);
});

test.each(['certificate-error', 'select-client-certificate', 'login'])(
  '%s: nothing is shown, and nobody is asked',
  async (event) => {
    const electron = await start(new FakeElectron());
    let prevented = false;
    electron.happens(event, { preventDefault: () => (prevented = true) }, ...Array(4).fill(() => expect.unreachable()));
    expect(prevented).toBe(true);
  },
);
