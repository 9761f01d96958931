// SPDX-License-Identifier: Apache-2.0
/**
 * What takes a machine of its own kind: two NUMA nodes, and kernels whose modules are all there (fq, HTB, WireGuard). Run
 * by scripts/test-kernels in its guests, in this order; a file per subject. A case may change the machine's settings, which
 * nobody else uses, but puts back what later cases rely on. Time passes more slowly there: sleep, until and loads know.
 */
import type { Case } from '../../harness/suite.js';
import { numa } from './numa.js';
import { shaping } from './shaping.js';

export const guest: readonly Case[] = [...numa, ...shaping];
