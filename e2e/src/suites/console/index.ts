// SPDX-License-Identifier: Apache-2.0
/** The desktop console's renderer in Chromium, behind the gateway. */
import type { Case } from '../../harness/suite.js';
import { large } from './large.js';
import { pages } from './pages.js';
import { writes } from './writes.js';

export const consoleCases: readonly Case[] = [...pages, ...writes, ...large];
