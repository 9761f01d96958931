// SPDX-License-Identifier: Apache-2.0
/** What Enter asks an agent for: what a version of the configuration has changed. */
import type { Reach } from '@marcher/client/fleet';
import { clock, timeMs } from '../../cli/output/quantity.js';
import { diffTexts } from '../actions/diff-text.js';
import { type Line, piece } from '../theme/line.js';
import { BLANK, field, heading } from '../views/shown.js';
import { TIMEOUT_MS } from './readers.js';

export async function revisionLines(reach: Reach, version: bigint): Promise<readonly Line[]> {
  const { revisions } = await reach.entry.config.history(
    { limit: 1, beforeVersion: version + 1n, withDiff: true },
    { timeoutMs: TIMEOUT_MS },
  );
  const [revision] = revisions;
  if (revision === undefined || revision.version !== version)
    return [[piece('warn', `Version ${version} is not known any more.`)]];
  return [
    field('Version', String(version), 'strong'),
    field('Time', clock(timeMs(revision.time))),
    field('Author', revision.author),
    field('Origin', revision.origin),
    field('Message', revision.message || '-'),
    field('As it was', `marcher revert ${version} makes this version the current one`),
    BLANK,
    heading('Changed'),
    ...diffTexts(revision.diffs).map((text): Line => [piece(toneOf(text), text)]),
  ];
}

function toneOf(text: string): 'good' | 'bad' | 'normal' {
  const sign = text.trimStart()[0];
  return sign === '+' ? 'good' : sign === '-' ? 'bad' : 'normal';
}
