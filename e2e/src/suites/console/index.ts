// SPDX-License-Identifier: Apache-2.0
/** The consoles: the desktop console's renderer in Chromium, behind the gateway; the terminal console in tmux. */
import type { Case } from '../../harness/suite.js';
import { agentsPages } from './agents-pages.js';
import { desktop } from './desktop.js';
import { desktopProvision } from './desktop-provision.js';
import { desktopTerminal } from './desktop-terminal.js';
import { everyWrite } from './every-write.js';
import { consoleLarge, large } from './large.js';
import { logins } from './logins.js';
import { pages } from './pages.js';
import { provision } from './provision.js';
import { terminal } from './terminal.js';
import { writes } from './writes.js';

/** What takes longest first: several run at once, and it is the last of them that the suite waits for. */
export const consoleCases: readonly Case[] = [
  ...[...pages, ...everyWrite, ...agentsPages, ...desktopProvision],
  ...[...desktopTerminal, ...writes, ...logins, ...terminal, ...desktop],
  ...large,
];

/** `npm run e2e -- console-large`: what is not part of `npm test`. */
export const consoleLongCases: readonly Case[] = [...provision, ...consoleLarge];
