// SPDX-License-Identifier: Apache-2.0
/** Everything that goes wrong in production, each under continuous load, with counts of sent, answered and failed. */
import type { Case } from '../../harness/suite.js';
import { agentFaults } from './agent.js';
import { backendFaults } from './backends.js';
import { engineFaults } from './engine.js';
import { hostFaults } from './host.js';

export const faults: readonly Case[] = [...agentFaults, ...engineFaults, ...backendFaults, ...hostFaults];
