// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';

/**
 * A console runs for days on a machine that is there for something else. V8 lets a heap grow to four times what was in use before it
 * looks for garbage again, and keeps the pages: of the loading of fifty nodes a gigabyte. Here it is to grow by so much, in percent.
 */
const GROWTH_PERCENT = 100;

/**
 * From the next collection on. Nothing is allocated as old, either: what loads fifty nodes makes objects that stay, from which V8 learns
 * that all that the same code makes will, while later states are garbage with the next one. As old ones they need the whole heap marked each
 * ten seconds, with more CPU than the console itself; as young ones they cost nothing (docs/decisions/0036-speed-of-the-consoles.md).
 */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
  setFlagsFromString('--no-allocation-site-pretenuring');
}
