// SPDX-License-Identifier: Apache-2.0
/** All deeds, and which of them a command means where it is given. */
import type { CommandName } from '../commands/table.js';
import type { Subject } from '../keys/table.js';
import { accessDeeds } from './access.js';
import { certificateDeeds } from './certificates.js';
import type { Deed } from './deed.js';
import { historyDeeds } from './history.js';
import { membershipDeeds } from './membership.js';

export const DEEDS: readonly Deed[] = [...certificateDeeds, ...accessDeeds, ...membershipDeeds, ...historyDeeds];

export function deedOf(command: CommandName, subject: Subject): Deed | undefined {
  return DEEDS.find((deed) => deed.command === command && deed.subject === subject);
}
