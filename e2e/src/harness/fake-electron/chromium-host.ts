// SPDX-License-Identifier: Apache-2.0
/** Debian's Chromium, with one profile: what Electron has within itself. */
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type BrowserContext, chromium } from 'playwright-core';
import type { AppServer } from './app-server.js';

const CHROMIUM = '/usr/bin/chromium';

export interface Viewport {
  readonly width: number;
  readonly height: number;
}

export async function launchChromium(
  directory: string,
  server: AppServer,
  viewport: Viewport,
): Promise<{ readonly context: BrowserContext; readonly debuggerUrl: string }> {
  const profile = path.join(directory, 'chromium');
  mkdirSync(profile, { recursive: true });
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    viewport,
    colorScheme: 'dark',
    reducedMotion: 'reduce',
    args: [
      '--headless=new',
      `--host-resolver-rules=MAP agent 127.0.0.1:${server.port}`,
      `--ignore-certificate-errors-spki-list=${server.spki}`,
      '--remote-debugging-port=0',
      // As root Chromium has no sandbox of its own.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });
  const [port] = readFileSync(path.join(profile, 'DevToolsActivePort'), 'utf8').split('\n');
  return { context, debuggerUrl: `http://127.0.0.1:${port}` };
}
