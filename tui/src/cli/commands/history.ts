// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import { RevertResponseSchema, type Revision, RevisionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type AckOptions, acknowledged, acksOf } from '../acks.js';
import type { ExitCode } from '../exit-code.js';
import { countDiffs, formatDiffs } from '../output/plan-view.js';
import { clock, timeMs } from '../output/quantity.js';
import { type Column, formatTable } from '../output/table.js';
import { type Session, type TargetOptions, versionNumber, wholeNumber } from '../session.js';

interface HistoryOptions extends TargetOptions {
  readonly limit: string;
  readonly before?: string;
  readonly diff?: boolean;
  readonly output: 'table' | 'json';
}

const columns: Column<Revision>[] = [
  { title: 'VERSION', value: ({ version }) => String(version), align: 'right' },
  { title: 'TIME', value: ({ time }) => clock(timeMs(time)) },
  { title: 'AUTHOR', value: ({ author }) => author },
  { title: 'ORIGIN', value: ({ origin }) => origin },
  { title: 'CHANGES', value: ({ created, updated, deleted }) => `+${created} ~${updated} -${deleted}` },
  { title: 'MESSAGE', value: ({ message }) => message || '-' },
];

export async function history(session: Session, options: HistoryOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const { revisions } = await agent.config.history(
    {
      limit: wholeNumber(options.limit, '--limit', 1, 1000),
      beforeVersion: options.before === undefined ? 0n : versionNumber(options.before, '--before'),
      withDiff: options.diff === true,
    },
    session.call(options),
  );
  if (options.output === 'json') {
    const json = revisions.map((revision) => toJson(RevisionSchema, revision, { alwaysEmitImplicit: true }));
    await session.write(`${JSON.stringify(json, null, 2)}\n`);
    return;
  }
  if (revisions.length === 0) {
    process.stderr.write('There are no versions yet.\n');
    return;
  }
  if (options.diff !== true) {
    await session.write(formatTable(columns, revisions));
    return;
  }
  for (const revision of revisions) {
    const { version, time, author, message } = revision;
    const head = `version ${version}  ${clock(timeMs(time))}  ${author}${message === '' ? '' : `  ${message}`}`;
    await session.write(`${session.style.bold(head)}\n${formatDiffs(revision.diffs, session.style)}\n`);
  }
}

interface RevertOptions extends TargetOptions, AckOptions {
  readonly message: string;
  readonly expectedVersion?: string;
  readonly output: 'text' | 'json';
}

export async function revert(session: Session, options: RevertOptions, text: string): Promise<ExitCode> {
  const version = versionNumber(text, 'VERSION');
  const expectedVersion =
    options.expectedVersion === undefined ? 0n : versionNumber(options.expectedVersion, '--expected-version');
  const agent = await session.agent(options);
  const response = await agent.config.revert(
    { version, expectedVersion, message: options.message, ...acksOf(options) },
    session.call(options),
  );
  if (options.output === 'json') {
    await session.write(`${JSON.stringify(toJson(RevertResponseSchema, response), null, 2)}\n`);
    return await acknowledged(session, options, { changed: response.diffs.length > 0, acks: response.acks });
  }
  const { created, updated, deleted } = countDiffs(response.diffs);
  await session.write(formatDiffs(response.diffs, session.style));
  await session.write(
    `Reverted to version ${version} as version ${response.version}: ${created} created, ${updated} changed, ${deleted} removed.\n`,
  );
  return await acknowledged(session, options, { changed: response.diffs.length > 0, acks: response.acks });
}
