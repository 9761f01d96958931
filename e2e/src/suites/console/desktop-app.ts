// SPDX-License-Identifier: Apache-2.0
/** The desktop console, started: by Electron where its program is here, else by the host in its place. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { type Browser, chromium, _electron as electron, type Page } from 'playwright-core';
import type { FromHost, ToHost } from '../../harness/fake-electron/messages.js';
import { WEB } from '../../harness/fake-electron/origin.js';
import { REPOSITORY, until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';

const BUNDLE = path.join(REPOSITORY, 'console/bundle');
const HOST = path.join(import.meta.dirname, '../../harness/fake-electron/run.js');

export interface DesktopOptions {
  /** $XDG_CONFIG_HOME: the address book is in it. */
  readonly configuration: string;
  /** What keeps secrets, of the host in Electron's place. Default: nothing. */
  readonly keyring?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly argv?: readonly string[];
}

export interface DesktopApp {
  /** Electron itself, or the host in its place. */
  readonly isElectron: boolean;
  readonly page: Page;
  /** What was opened in the person's browser. */
  links(): Promise<readonly string[]>;
  /** What the host in Electron's place has told; of Electron itself nothing. */
  readonly told: readonly FromHost[];
  /** Somebody starts it once more. */
  again(argv: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** undefined: npm ci has no program of Electron's, and it can't be downloaded everywhere. */
export function electronProgram(): string | undefined {
  const home = path.dirname(createRequire(import.meta.url).resolve('electron/package.json'));
  const named = path.join(home, 'path.txt');
  if (!existsSync(named)) return undefined;
  const program = path.join(home, 'dist', readFileSync(named, 'utf8'));
  return existsSync(program) ? program : undefined;
}

export async function startDesktop(world: World, options: DesktopOptions): Promise<DesktopApp> {
  const program = electronProgram();
  return program === undefined ? await startHosted(world, options) : await startElectron(program, options);
}

async function startElectron(program: string, options: DesktopOptions): Promise<DesktopApp> {
  const { configuration, env, argv = [] } = options;
  const app = await electron.launch({
    executablePath: program,
    args: [path.join(REPOSITORY, 'console'), ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), ...argv],
    env: { ...(process.env as Record<string, string>), ...env, XDG_CONFIG_HOME: configuration },
  });
  const page = await app.firstWindow();
  await app.evaluate(({ shell }) => {
    const opened: string[] = [];
    Object.assign(globalThis, { opened });
    shell.openExternal = async (url) => void opened.push(url);
  });
  return {
    isElectron: true,
    page,
    told: [],
    links: () => app.evaluate(() => (globalThis as unknown as { opened: string[] }).opened),
    again: (given) =>
      app.evaluate(({ app: electronApp }, words) => void electronApp.emit('second-instance', {}, words), [...given]),
    close: () => app.close(),
  };
}

async function startHosted(world: World, options: DesktopOptions): Promise<DesktopApp> {
  const { configuration, keyring = 'basic_text', env, argv = [] } = options;
  const child = world.scope.spawn([process.execPath, HOST, path.join(BUNDLE, 'main.js'), ...argv], {
    ipc: true,
    log: 'desktop.log',
    // What it leaves behind goes with the case.
    env: { TMPDIR: world.scope.dir, ...env, XDG_CONFIG_HOME: configuration, FAKE_ELECTRON_KEYRING: keyring },
  });
  const told: FromHost[] = [];
  child.on('message', (message) => told.push(message as FromHost));
  const first = async <Kind extends FromHost['kind']>(what: string, kind: Kind) => {
    const found = await until(
      what,
      () =>
        told.find((each) => each.kind === kind || each.kind === 'error-box') ??
        (child.exitCode === null ? undefined : ('ended' as const)),
      20_000,
    );
    if (found === 'ended') throw new Error(`it has ended with ${child.exitCode}: desktop.log says why`);
    if (found.kind === 'error-box') throw new Error(`${found.title}: ${found.text}`);
    return found as Extract<FromHost, { kind: Kind }>;
  };
  const say = (message: ToHost): void => void child.send(message);
  const { debuggerUrl } = await first('the desktop console to start its browser', 'browser');
  const browser = await chromium.connectOverCDP(debuggerUrl);
  const page = browser.contexts()[0]?.pages()[0];
  world.check(page !== undefined, 'the desktop console has no page');
  // Whoever connects brings the media of its own.
  await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
  say({ kind: 'attached' });
  await first('the desktop console to show its window', 'window');
  // This debugger hears of it by itself, and may do so later than the host's.
  await page.waitForURL(({ origin }) => origin === WEB);
  return {
    isElectron: false,
    page,
    told,
    links: async () => told.flatMap((each) => (each.kind === 'link' ? [each.url] : [])),
    async again(given) {
      say({ kind: 'second-instance', argv: given });
    },
    close: () => ended(browser, child, () => say({ kind: 'quit' })),
  };
}

async function ended(browser: Browser, child: ChildProcess, quit: () => void): Promise<void> {
  await browser.close();
  const end = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  quit();
  await end;
}
