// SPDX-License-Identifier: Apache-2.0
/**
 * The desktop console as it runs: what is set up when, of the parts beside this file. Electron comes in as a parameter, so
 * that all of this runs in tests without it.
 *
 *   start ─ scheme, one instance ─▶ ready ─ session, app://, bridge ─▶ window ─▶ closed: its place is kept
 */
import type { Duplex } from 'node:stream';
import type { Handlers } from '../ipc/contract.js';
import { type Agents, answerApp, type Files, SCHEME_PRIVILEGES } from './app-protocol.js';
import { type IpcLogger, type Registrar, serveIpc } from './ipc-server.js';
import { type Contents, keepWithin } from './navigation.js';
import { ORIGIN, SCHEME } from './origin.js';
import { denyPermissions, type RendererSession } from './permissions.js';
import { type Bounds, keepPlace, readPlace, type Screen, windowOptions } from './window.js';

/** Of Electron's BrowserWindow. */
export interface Window {
  readonly webContents: Contents;
  loadURL(address: string): Promise<void>;
  once(event: 'ready-to-show', listener: () => void): unknown;
  on(event: 'close', listener: () => void): unknown;
  show(): void;
  focus(): void;
  restore(): void;
  isMinimized(): boolean;
  maximize(): void;
  isMaximized(): boolean;
  /** Where it is when it is not maximised. */
  getNormalBounds(): Bounds;
}

/** What of Electron is used, as `import * as electron from 'electron'` has it. */
export interface Host {
  readonly app: {
    requestSingleInstanceLock(): boolean;
    quit(): void;
    whenReady(): Promise<unknown>;
    enableSandbox(): void;
    on(event: 'second-instance', listener: (event: unknown, argv: string[]) => void): unknown;
    on(event: 'activate' | 'window-all-closed', listener: () => void): unknown;
    on(event: 'web-contents-created', listener: (event: unknown, contents: Contents) => void): unknown;
    on(
      event: 'certificate-error' | 'select-client-certificate' | 'login',
      listener: (event: { preventDefault(): void }, ...rest: unknown[]) => void,
    ): unknown;
  };
  readonly protocol: {
    registerSchemesAsPrivileged(schemes: readonly unknown[]): void;
    handle(scheme: string, handler: (request: Request) => Promise<Response>): void;
  };
  readonly session: { readonly defaultSession: RendererSession };
  readonly ipcMain: Registrar;
  readonly screen: { getAllDisplays(): readonly Screen[] };
  readonly shell: { openExternal(url: string): Promise<void> };
  readonly BrowserWindow: { new (options: object): Window; getAllWindows(): readonly Window[] };
}

export interface DesktopParts<Stream extends Duplex> {
  readonly files: Files;
  readonly agents: Agents<Stream>;
  /** What the bridge asks of the rest; links are this file's. */
  readonly handlers: Omit<Handlers, 'openLink'>;
  readonly argv: readonly string[];
  /** The mesh that a command line names. undefined: it leaves that to the console. */
  meshOf(argv: readonly string[]): string | undefined;
  readonly logger: IpcLogger;
  /** Absolute paths. */
  readonly preload: string;
  readonly windowFile: string;
}

/** Before the app is ready, and once. Resolves with the first window, or where another instance runs already at once. */
export async function startDesktop<Stream extends Duplex>(host: Host, parts: DesktopParts<Stream>): Promise<void> {
  const { app, protocol, session, ipcMain, shell } = host;
  const { logger } = parts;
  if (!app.requestSingleInstanceLock()) {
    // That one is told, and shows its window.
    app.quit();
    return;
  }
  const openLink = (url: string): void => {
    shell.openExternal(url).catch((error: Error) => logger.warn({ error: error.message }, 'a link was not opened'));
  };
  app.enableSandbox();
  protocol.registerSchemesAsPrivileged([SCHEME_PRIVILEGES]);
  // Of every page there ever is, whoever made it.
  app.on('web-contents-created', (_event, contents) => keepWithin(contents, openLink));
  // The renderer speaks TLS with nobody: nothing is trusted, shown to anyone, or asked for.
  app.on('certificate-error', (event) => event.preventDefault());
  app.on('select-client-certificate', (event) => event.preventDefault());
  app.on('login', (event) => event.preventDefault());
  app.on('second-instance', (_event, argv) => showWindow(host, parts, parts.meshOf(argv)));
  app.on('activate', () => showWindow(host, parts, undefined));
  app.on('window-all-closed', () => app.quit());

  await app.whenReady();
  denyPermissions(session.defaultSession);
  protocol.handle(SCHEME, answerApp(parts.files, parts.agents));
  serveIpc(ipcMain, { ...parts.handlers, openLink }, logger);
  showWindow(host, parts, parts.meshOf(parts.argv));
}

/** The one there is, or a new one. mesh: undefined, as the page has it, or as it was the last time. */
function showWindow<Stream extends Duplex>(
  host: Host,
  { preload, windowFile, logger }: DesktopParts<Stream>,
  mesh: string | undefined,
): void {
  const load = (window: Window): void => {
    window
      .loadURL(mesh === undefined ? `${ORIGIN}/` : `${ORIGIN}/?${new URLSearchParams({ mesh })}`)
      .catch((error: Error) => logger.error({ error: error.message }, 'the console could not be shown'));
  };
  const [open] = host.BrowserWindow.getAllWindows();
  if (open !== undefined) {
    if (open.isMinimized()) open.restore();
    open.focus();
    if (mesh !== undefined) load(open);
    return;
  }
  const { bounds, isMaximized } = readPlace(windowFile, host.screen.getAllDisplays());
  const window = new host.BrowserWindow(windowOptions(preload, bounds));
  window.once('ready-to-show', () => {
    if (isMaximized) window.maximize();
    window.show();
  });
  window.on('close', () =>
    keepPlace(windowFile, { bounds: window.getNormalBounds(), isMaximized: window.isMaximized() }),
  );
  load(window);
}
