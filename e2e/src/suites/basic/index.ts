// SPDX-License-Identifier: Apache-2.0
/** What one node does for its clients, seen from outside: real clients, real backends, the real command line. */
import type { Case } from '../../harness/suite.js';
import { balancing } from './balancing.js';
import { configuration } from './configuration.js';
import { relay } from './relay.js';
import { reload } from './reload.js';

export const basic: readonly Case[] = [...relay, ...balancing, ...reload, ...configuration];
