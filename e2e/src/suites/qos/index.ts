// SPDX-License-Identifier: Apache-2.0
/** Traffic policies: rates as they arrive, marks as they are on the wire, refusals as they are logged; shaping in tc. */
import type { Case } from '../../harness/suite.js';
import { limits } from './limits.js';
import { marks } from './marks.js';
import { shaping } from './shaping.js';
import { tiers } from './tiers.js';

export const qos: readonly Case[] = [...limits, ...marks, ...tiers, ...shaping];
