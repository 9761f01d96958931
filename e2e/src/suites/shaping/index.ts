// SPDX-License-Identifier: Apache-2.0
/** Traffic policies in the kernel tiers: the same rates and marks as the relay's, and what is over a rate waits in tc. */
import type { Case } from '../../harness/suite.js';
import { tiers } from './tiers.js';
import { uplink } from './uplink.js';
import { waiting } from './waiting.js';

export const shaping: readonly Case[] = [...tiers, ...waiting, ...uplink];
