// SPDX-License-Identifier: Apache-2.0
import { clock } from '../../cli/output/quantity.js';

/** Local time: "03:11:19" */
export function timeOfDay(ms: number): string {
  return clock(ms).slice(11);
}
