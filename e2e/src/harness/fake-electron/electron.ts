// SPDX-License-Identifier: Apache-2.0
/** The module "electron" of this host: README.md says what is behind each part. */
import { type ChildProcess, fork } from 'node:child_process';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { BrowserContext, CDPSession } from 'playwright-core';
import { type AppServer, type Handler, serveApp } from './app-server.js';
import { launchChromium } from './chromium-host.js';
import { programLoaded } from './loaded.js';
import { type ToHost, tell } from './messages.js';
import { WEB } from './origin.js';
import { WebContents, type WebPreferences } from './web-contents.js';

/** Of this host alone: certificates, Chromium's profile. */
const own = mkdtempSync(path.join(tmpdir(), 'marcher-electron-'));
process.on('exit', () => rmSync(own, { recursive: true, force: true }));

class App extends EventEmitter {
  readonly isPackaged = false;
  #name = 'Electron';
  readonly #paths = new Map<string, string>([
    ['userData', path.join(own, 'userData')],
    ['temp', tmpdir()],
    ['exe', process.execPath],
  ]);
  isReady = false;
  #isQuitting = false;

  setName(name: string): void {
    this.#name = name;
  }
  getName(): string {
    return this.#name;
  }
  getVersion(): string {
    return '0.0.0';
  }
  getAppPath(): string {
    return path.dirname(path.dirname(process.argv[1] ?? ''));
  }
  setPath(name: string, where: string): void {
    // As Electron: what is not there is no path.
    if (!statSync(where, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`Failed to set path: ${where}`);
    this.#paths.set(name, where);
  }
  getPath(name: string): string {
    const found = this.#paths.get(name);
    if (found === undefined) throw new Error(`Failed to get '${name}' path`);
    return found;
  }
  requestSingleInstanceLock(): boolean {
    return true;
  }
  enableSandbox(): void {
    if (this.isReady) throw new Error('app.enableSandbox() can only be called before app is ready');
  }
  /** As Electron: not before the program's module has been run to its end. */
  async whenReady(): Promise<void> {
    this.#becoming ??= this.#become();
    await this.#becoming;
  }
  #becoming: Promise<void> | undefined;
  async #become(): Promise<void> {
    await programLoaded();
    server = await serveApp({ directory: own, handler: () => handler, mayBegin });
    this.isReady = true;
    this.emit('ready');
  }
  quit(): void {
    if (this.#isQuitting) return;
    this.#isQuitting = true;
    this.emit('before-quit', {});
    void Promise.all(windows.map((window) => window.closed())).then(async () => {
      this.emit('will-quit', {});
      await (await launching)?.context.close();
      process.exit(0);
    });
  }
  exit(code = 0): void {
    process.exit(code);
  }
}

export const app = new App();

let handler: Handler | undefined;
let server: AppServer | undefined;
let launching: Promise<{ readonly context: BrowserContext; readonly debuggerUrl: string }> | undefined;
const windows: BrowserWindow[] = [];

const known = { schemes: [] as unknown[] };

export const protocol = {
  registerSchemesAsPrivileged(schemes: readonly unknown[]): void {
    if (app.isReady) throw new Error('protocol.registerSchemesAsPrivileged should be called before app is ready');
    known.schemes.push(...schemes);
  },
  handle(scheme: string, given: Handler): void {
    if (scheme !== 'app' || known.schemes.length === 0)
      throw new Error(`this host has app:// alone, registered before: ${scheme}`);
    handler = given;
  },
};

type PermissionRequest = (
  contents: unknown,
  permission: string,
  answer: (granted: boolean) => void,
  details: { readonly requestingUrl: string },
) => void;
type PermissionCheck = (contents: unknown, permission: string, origin: string) => boolean;
type BeforeRequest = (details: { readonly url: string }, answer: (verdict: { cancel?: boolean }) => void) => void;

/** Electron's names, and Chromium's: what can be asked of a page here. */
const PERMISSIONS: Readonly<Record<string, string>> = {
  geolocation: 'geolocation',
  notifications: 'notifications',
  media: 'camera',
  midi: 'midi',
  'clipboard-read': 'clipboard-read',
  'clipboard-sanitized-write': 'clipboard-write',
  'idle-detection': 'idle-detection',
  'persistent-storage': 'persistent-storage',
};

class Session {
  #request: PermissionRequest = (_contents, _permission, answer) => answer(true);
  #check: PermissionCheck = () => true;
  before: BeforeRequest = (_details, answer) => answer({});

  setPermissionRequestHandler(given: PermissionRequest): void {
    this.#request = given;
  }
  setPermissionCheckHandler(given: PermissionCheck): void {
    this.#check = given;
  }
  setDevicePermissionHandler(): void {}
  /** Nothing here speaks TLS but the host itself, in the place of a scheme that has none. */
  setCertificateVerifyProc(): void {}
  readonly webRequest = {
    onBeforeRequest: (given: BeforeRequest): void => {
      this.before = given;
    },
  };

  /** Chromium does from then on what the app says. */
  async apply(session: CDPSession): Promise<void> {
    const granted: string[] = [];
    const denied: string[] = [];
    for (const [permission, name] of Object.entries(PERMISSIONS)) {
      const asked = new Promise<boolean>((resolve) =>
        this.#request({}, permission, resolve, { requestingUrl: 'app://agent/' }),
      );
      const may = this.#check({}, permission, 'app://agent/') && (await asked);
      (may ? granted : denied).push(permission);
      const setting = may ? ('granted' as const) : ('denied' as const);
      await session.send('Browser.setPermission', { permission: { name }, setting, origin: WEB });
    }
    tell({ kind: 'permissions', granted, denied });
  }
}

const defaultSession = new Session();
export const session = { defaultSession };

/** Electron awaits the answer; the app gives it at once. */
function mayBegin(url: string): boolean {
  let cancel = true;
  defaultSession.before({ url }, (verdict) => {
    cancel = verdict.cancel === true;
  });
  if (cancel) tell({ kind: 'refused-request', url });
  return !cancel;
}

type Listener = (event: unknown, ...given: unknown[]) => unknown;

class IpcMain extends EventEmitter {
  readonly #handlers = new Map<string, Listener>();

  handle(channel: string, listener: Listener): void {
    if (this.#handlers.has(channel)) throw new Error(`Attempted to register a second handler for '${channel}'`);
    this.#handlers.set(channel, listener);
  }

  async invoke(sender: WebContents, channel: string, given: unknown[]): Promise<unknown> {
    const event = { sender, senderFrame: sender.mainFrame };
    const listener = this.#handlers.get(channel);
    if (listener !== undefined) return await listener(event, ...given);
    if (this.emit(channel, event, ...given)) return undefined;
    throw new Error(`No handler registered for '${channel}'`);
  }
}

export const ipcMain = new IpcMain();

interface WindowOptions {
  readonly width?: number;
  readonly height?: number;
  readonly webPreferences?: WebPreferences;
}

export class BrowserWindow extends EventEmitter {
  readonly webContents: WebContents;
  readonly #viewport: { readonly width: number; readonly height: number };
  #isShown = false;
  #close: (() => void) | undefined;
  readonly #closed: Promise<void>;

  static getAllWindows(): readonly BrowserWindow[] {
    return windows;
  }

  constructor({ width = 800, height = 600, webPreferences = {} }: WindowOptions) {
    super();
    this.#viewport = { width, height };
    this.#closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    this.webContents = new WebContents(webPreferences, {
      context: () => this.#context(),
      invoke: (sender, channel, given) => ipcMain.invoke(sender, channel, given),
      mayBegin,
      prepare: (each) => defaultSession.apply(each),
    });
    windows.push(this);
    this.webContents.on('destroyed', () => this.#gone());
    app.emit('browser-window-created', {}, this);
    app.emit('web-contents-created', {}, this.webContents);
  }

  async loadURL(address: string): Promise<void> {
    const isFirst = this.webContents.getURL() === '';
    if (isFirst && process.connected) {
      await this.webContents.page();
      tell({ kind: 'browser', debuggerUrl: (await launching)?.debuggerUrl ?? '' });
      await attached.promise;
    }
    await this.webContents.load(address);
    if (isFirst) this.emit('ready-to-show');
    tell({ kind: 'window' });
  }
  show(): void {
    this.#isShown = true;
  }
  isVisible(): boolean {
    return this.#isShown;
  }
  focus(): void {}
  restore(): void {}
  isMinimized(): boolean {
    return false;
  }
  maximize(): void {}
  isMaximized(): boolean {
    return false;
  }
  isDestroyed(): boolean {
    return !windows.includes(this);
  }
  getNormalBounds() {
    return { x: 0, y: 0, ...this.#viewport };
  }
  close(): void {
    void this.closed();
  }
  async closed(): Promise<void> {
    this.emit('close', {});
    const page = await this.webContents.page();
    await page.close();
    await this.#closed;
  }

  async #context(): Promise<BrowserContext> {
    if (server === undefined) throw new Error('no window can be made before app is ready');
    if (launching === undefined) {
      launching = launchChromium(own, server, this.#viewport);
      // What the app denies is there for a moment: Chromium asks nobody before it makes a window.
      (await launching).context.on('page', (page) => {
        if (page.context().pages().length > windows.length) void page.close();
      });
    }
    return (await launching).context;
  }

  #gone(): void {
    windows.splice(windows.indexOf(this), 1);
    this.emit('closed');
    this.#close?.();
    if (windows.length === 0) app.emit('window-all-closed');
  }
}

/**
 * The test's debugger, which comes once Chromium runs. It and this host's own each hold a worker that begins until they have seen it:
 * one that begins while the second of them attaches is at times let go by neither, and its page hears nothing of it (Chromium 156;
 * electron/electron#51633 is alike). So nothing is loaded before.
 */
const attached = Promise.withResolvers<void>();

const KEYRING = process.env['FAKE_ELECTRON_KEYRING'] ?? 'basic_text';

export const safeStorage = {
  isEncryptionAvailable: () => KEYRING !== 'basic_text',
  getSelectedStorageBackend: () => (app.isReady ? KEYRING : 'unknown'),
  encryptString(text: string): Buffer {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', keyringKey(), iv);
    const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
    return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
  },
  decryptString(sealed: Buffer): string {
    const decipher = createDecipheriv('aes-256-gcm', keyringKey(), sealed.subarray(0, 12));
    decipher.setAuthTag(sealed.subarray(12, 28));
    return decipher.update(sealed.subarray(28), undefined, 'utf8') + decipher.final('utf8');
  },
};

function keyringKey(): Buffer {
  const file = path.join(path.dirname(app.getPath('userData')), `keyring-${KEYRING}`);
  if (!existsSync(file)) writeFileSync(file, randomBytes(32), { mode: 0o600 });
  return readFileSync(file);
}

class UtilityProcess extends EventEmitter {
  readonly #child: ChildProcess;
  readonly stdout: ChildProcess['stdout'];
  readonly stderr: ChildProcess['stderr'];

  constructor(child: ChildProcess) {
    super();
    this.#child = child;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    child.on('spawn', () => this.emit('spawn'));
    child.on('message', (message) => this.emit('message', message));
    child.on('exit', (code) => this.emit('exit', code ?? 1));
  }
  get pid(): number | undefined {
    return this.#child.pid;
  }
  postMessage(message: unknown, ports: readonly unknown[] = []): void {
    if (ports.length > 0) throw new Error('this host passes no ports on');
    this.#child.send(message as object);
  }
  kill(): boolean {
    return this.#child.kill();
  }
}

export const utilityProcess = {
  fork(
    file: string,
    given: readonly string[] = [],
    { env, stdio = 'pipe' }: { env?: NodeJS.ProcessEnv; stdio?: 'pipe' | 'ignore' | 'inherit' } = {},
  ): UtilityProcess {
    const parentPort = path.join(import.meta.dirname, 'parent-port.js');
    const child = fork(file, given, {
      env: env ?? process.env,
      execArgv: ['--import', parentPort],
      serialization: 'advanced',
      stdio: ['ignore', stdio, stdio, 'ipc'],
    });
    return new UtilityProcess(child);
  },
};

export const Menu = {
  buildFromTemplate: (template: readonly object[]) => ({ items: template }),
  setApplicationMenu(): void {},
};

export const screen = { getAllDisplays: () => [{ workArea: { x: 0, y: 0, width: 1_440, height: 900 } }] };

export const shell = {
  async openExternal(url: string): Promise<void> {
    tell({ kind: 'link', url });
  },
};

export const dialog = {
  showErrorBox(title: string, text: string): void {
    console.error(`${title}: ${text}`);
    tell({ kind: 'error-box', title, text });
  },
};

process.on('message', (message: ToHost) => {
  if (message.kind === 'attached') attached.resolve();
  else if (message.kind === 'quit') app.quit();
  else app.emit('second-instance', {}, [...message.argv], process.cwd());
});
