// SPDX-License-Identifier: Apache-2.0
import { create, toJson } from '@bufbuild/protobuf';
import { type Configuration, objectsOf } from '@marcher/model';
import {
  ApplyResponseSchema,
  type Change,
  ChangeSchema,
  PlanResponseSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { type AckOptions, acknowledged, acksOf } from '../acks.js';
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

interface ApplyOptions extends PlanOptions, AckOptions {
  readonly message: string;
  readonly expectedVersion?: string;
  readonly dryRun?: boolean;
}

const checking = (configuration: Configuration): string => `the agent has ${countText(configuration)}`;

/** "1 service", "2 services and 1 guard", "1 traffic policy" */
function countText({ services, guards, trafficPolicies }: Configuration): string {
  const others = [
    ...(guards.length === 0 ? [] : [plural(guards.length, 'guard')]),
    ...(trafficPolicies.length === 0 ? [] : [plural(trafficPolicies.length, 'traffic policy', 'traffic policies')]),
  ];
  const all = services.length === 0 && others.length > 0 ? others : [plural(services.length, 'service'), ...others];
  return all.length === 1 ? `${all[0]}` : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`;
}

/** The message takes the services over: they are encoded from where the parser put them. */
function changeTo(configuration: Configuration, replaceAll: boolean): Change {
  const change = create(ChangeSchema, { replaceAll });
  change.upsert = configuration.services;
  change.upsertObjects = objectsOf(configuration);
  return change;
}

export async function plan(session: Session, options: PlanOptions): Promise<ExitCode> {
  const source = await readSource(options.file);
  const agent = await session.agent(options);
  const change = changeTo(source.configuration, options.prune === true);
  const response = await located(source, () =>
    noticed(checking(source.configuration), () => agent.config.plan({ change }, session.call(options))),
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
  return await applySource(session, options, source, { expectedVersion, replaceAll: options.prune === true });
}

export async function applySource(
  session: Session,
  options: TargetOptions & AckOptions & { readonly message: string; readonly output: 'text' | 'json' },
  source: Source,
  { expectedVersion, replaceAll }: { expectedVersion: bigint; replaceAll: boolean },
): Promise<ExitCode> {
  const agent = await session.agent(options);
  const { configuration } = source;
  const omitDiff = options.output !== 'json' && configuration.services.length > diffMaxServices;
  const change = changeTo(configuration, replaceAll);
  const response = await located(source, () =>
    noticed(checking(configuration), () =>
      agent.config.apply(
        { change, expectedVersion, message: options.message, omitDiff, ...acksOf(options) },
        session.call(options),
      ),
    ),
  );
  if (options.output === 'json') {
    await session.write(`${JSON.stringify(toJson(ApplyResponseSchema, response), null, 2)}\n`);
    return await acknowledged(session, options, response);
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
    `${omitDiff ? '' : '\n'}Applied version ${response.version} of ${countText(configuration)}: ` +
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
  return await acknowledged(session, options, response);
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
