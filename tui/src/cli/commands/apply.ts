// SPDX-License-Identifier: Apache-2.0
import { create, toJson } from '@bufbuild/protobuf';
import { ApplyResponseSchema, ChangeSchema, PlanResponseSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, toFailure } from '../failure.js';
import { noticed } from '../output/notice.js';
import { countDiffs, formatCounts, formatDiffs } from '../output/plan-view.js';
import { plural } from '../output/quantity.js';
import { type Session, type TargetOptions, versionNumber } from '../session.js';
import { readSource, type Source } from './source.js';

/** Beyond so many services the answer has no diff, unless it is asked for as JSON. */
const diffMaxServices = 2000;

interface PlanOptions extends TargetOptions {
  readonly file: string[];
  readonly prune?: boolean;
  readonly detailedExitcode?: boolean;
  readonly output: 'text' | 'json';
}

interface ApplyOptions extends PlanOptions {
  readonly message: string;
  readonly expectedVersion?: string;
  readonly dryRun?: boolean;
}

const checking = (services: number): string => `the agent has ${plural(services, 'service')}`;

export async function plan(session: Session, options: PlanOptions): Promise<ExitCode> {
  const source = await readSource(options.file);
  const agent = await session.agent(options);
  const change = { upsert: source.services, replaceAll: options.prune === true };
  const response = await located(source, () =>
    noticed(checking(source.services.length), () => agent.config.plan({ change }, session.call(options))),
  );
  if (response.violations.length > 0) {
    const problems = response.violations.map(({ path, reason, fix }) => ({ where: path, reason, fix }));
    throw new Failure(ExitCode.invalidConfiguration, 'the configuration is not valid', await source.locate(problems));
  }
  const changes = response.diffs.length > 0;
  if (options.output === 'json') {
    await session.write(`${JSON.stringify(toJson(PlanResponseSchema, response), null, 2)}\n`);
  } else if (changes) {
    await session.write(formatDiffs(response.diffs, session.style));
    await session.write(`\nPlan: ${formatCounts(countDiffs(response.diffs))} (from version ${response.version}).\n`);
  } else {
    await session.write(`No changes: version ${response.version} already is what the files say.\n`);
  }
  return changes && options.detailedExitcode === true ? ExitCode.changes : ExitCode.ok;
}

export async function apply(session: Session, options: ApplyOptions): Promise<ExitCode> {
  const expectedVersion =
    options.expectedVersion === undefined ? 0n : versionNumber(options.expectedVersion, '--expected-version');
  if (options.dryRun === true) return await plan(session, options);
  const source = await readSource(options.file);
  return await applyServices(session, options, source, { expectedVersion, replaceAll: options.prune === true });
}

export async function applyServices(
  session: Session,
  options: TargetOptions & { readonly message: string; readonly output: 'text' | 'json' },
  source: Source,
  { expectedVersion, replaceAll }: { expectedVersion: bigint; replaceAll: boolean },
): Promise<ExitCode> {
  const agent = await session.agent(options);
  const count = source.services.length;
  const omitDiff = options.output !== 'json' && count > diffMaxServices;
  // The message takes the services over: they are encoded from where the parser put them.
  const change = create(ChangeSchema, { replaceAll });
  change.upsert = source.services;
  const response = await located(source, () =>
    noticed(checking(count), () =>
      agent.config.apply({ change, expectedVersion, message: options.message, omitDiff }, session.call(options)),
    ),
  );
  if (options.output === 'json') {
    await session.write(`${JSON.stringify(toJson(ApplyResponseSchema, response), null, 2)}\n`);
    return ExitCode.ok;
  }
  if (!response.changed) {
    await session.write(`No changes: version ${response.version} already is what was applied.\n`);
    return ExitCode.ok;
  }
  await session.write(formatDiffs(response.diffs, session.style));
  const { created, updated, deleted } = omitDiff
    ? ((await agent.config.history({ limit: 1 }, session.call(options))).revisions[0] ?? countDiffs([]))
    : countDiffs(response.diffs);
  await session.write(
    `${omitDiff ? '' : '\n'}Applied version ${response.version} of ${plural(count, 'service')}: ` +
      `${created} created, ${updated} changed, ${deleted} removed.\n`,
  );
  const { timing } = response;
  if (timing !== undefined) {
    const ms = (value: number): string => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
    await session.write(
      session.style
        .dim(
          `validate ${ms(timing.validateMs)}, compile ${ms(timing.compileMs)}, store ${ms(timing.storeMs)}, program ${ms(timing.programMs)}`,
        )
        .concat('\n'),
    );
  }
  return ExitCode.ok;
}

async function located<T>(source: Source, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const failure = toFailure(error);
    if (failure.problems.length === 0) throw failure;
    throw new Failure(failure.exitCode, failure.message, await source.locate(failure.problems));
  }
}
