// SPDX-License-Identifier: Apache-2.0
/** A plan as `marcher plan` prints it, as lines without colour: the console paints them by their signs. */
import type { ObjectDiff } from '@marcher/proto/marcher/v1/config_service_pb';
import { formatDiffs } from '../../cli/output/plan-view.js';
import type { Style } from '../../cli/output/style.js';

const as = (text: string): string => text;
const colourless: Style = { enabled: false, bold: as, dim: as, red: as, green: as, yellow: as };
const LINES_MAX = 5_000;

export function diffTexts(diffs: readonly ObjectDiff[]): string[] {
  const lines = formatDiffs(diffs, colourless).replace(/\n$/, '').split('\n');
  return lines.length > LINES_MAX
    ? [...lines.slice(0, LINES_MAX), `and ${lines.length - LINES_MAX} lines more`]
    : lines;
}
