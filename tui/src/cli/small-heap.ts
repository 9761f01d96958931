// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';

/**
 * A console runs for days on a machine that is there for something else. V8 lets a heap grow to four times what was in use before it
 * looks for garbage again, and keeps the pages: of the loading of fifty nodes a gigabyte. Here it is to grow by so much, in percent.
 */
const GROWTH_PERCENT = 100;

/** From the next collection on. */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
