// SPDX-License-Identifier: Apache-2.0
/** Traffic policies in the relay: rates as they arrive, marks as they are on the wire, refusals as they are logged. */
import type { Case } from '../../harness/suite.js';
import { limits } from './limits.js';
import { marks } from './marks.js';

export const qos: readonly Case[] = [...limits, ...marks];
