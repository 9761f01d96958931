// SPDX-License-Identifier: Apache-2.0
/** A change that a command makes itself: planned, shown, and applied to the very version that it was planned for. */
import { toJson } from '@bufbuild/protobuf';
import type { AgentClient } from '@marcher/client';
import { ApplyResponseSchema, type Change, PlanResponseSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type AckOptions, acknowledged, acksOf } from '../acks.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { countDiffs, formatCounts, formatDiffs } from '../output/plan-view.js';
import { type Session, type TargetOptions, versionNumber } from '../session.js';

export interface ChangeOptions extends TargetOptions, AckOptions {
  readonly message: string;
  readonly expectedVersion?: string;
  readonly dryRun?: boolean;
  readonly output: 'text' | 'json';
}

/** How often a change is made anew when somebody else changes the configuration at the same time. */
const attemptsMax = 5;

/**
 * make() reads what it needs and says from which version; undefined: there is nothing to do. It is called again when the
 * configuration has moved meanwhile, unless the caller insists on a version.
 */
export async function makeChange(
  session: Session,
  options: ChangeOptions,
  note: string,
  make: (agent: AgentClient) => Promise<{ change: Change; version: bigint } | undefined>,
): Promise<ExitCode> {
  const expected =
    options.expectedVersion === undefined ? 0n : versionNumber(options.expectedVersion, '--expected-version');
  const agent = await session.agent(options);
  const call = session.call(options);
  for (let attempt = 1; ; attempt++) {
    const made = await make(agent);
    if (made === undefined) {
      await nothing(session, options);
      return ExitCode.ok;
    }
    const { change, version } = made;
    const planned = await agent.config.plan({ change }, call);
    if (expected !== 0n && planned.version !== expected) throw moved(planned.version, expected);
    if (planned.version !== version) {
      if (attempt === attemptsMax) throw moved(planned.version, version);
      continue;
    }
    if (planned.violations.length > 0) {
      const problems = planned.violations.map(({ path, reason, fix }) => ({
        where: placeOf(path, change),
        reason,
        fix,
      }));
      throw new Failure(ExitCode.invalidConfiguration, 'the change is not valid; nothing was changed', problems);
    }
    const { diffs } = planned;
    if (options.dryRun === true || diffs.length === 0) {
      if (options.output === 'json') {
        await session.write(`${JSON.stringify(toJson(PlanResponseSchema, planned), null, 2)}\n`);
      } else if (diffs.length === 0) await nothing(session, options);
      else {
        const counts = formatCounts(countDiffs(diffs));
        await session.write(`${formatDiffs(diffs, session.style)}\nPlan: ${counts} (from version ${version}).\n`);
      }
      return ExitCode.ok;
    }
    try {
      const message = options.message === '' ? note : options.message;
      const applied = await agent.config.apply({ change, expectedVersion: version, message, ...acksOf(options) }, call);
      if (options.output === 'json') {
        await session.write(`${JSON.stringify(toJson(ApplyResponseSchema, applied), null, 2)}\n`);
      } else {
        await session.write(`${formatDiffs(diffs, session.style)}\nApplied version ${applied.version}.\n`);
      }
      return await acknowledged(session, options, applied);
    } catch (error) {
      const conflict = (error as { code?: unknown }).code === 'conflict';
      if (!conflict || expected !== 0n || attempt === attemptsMax) throw error;
    }
  }
}

/** guards[0].rules[2] -> guard operator: rules[2]: nobody has seen the list that it is in. */
function placeOf(path: string, { upsertObjects }: Change): string {
  const match = /^guards\[(\d+)\]\.?(.*)$/.exec(path);
  const object = match === null ? undefined : upsertObjects[Number(match[1])]?.object;
  return object?.case === 'guard' ? `guard ${object.value.name}: ${match?.[2]}` : path;
}

async function nothing(session: Session, { output }: ChangeOptions): Promise<void> {
  await session.write(output === 'json' ? '{}\n' : 'No changes: that is how it is.\n');
}

function moved(now: bigint, expected: bigint): Failure {
  return new Failure(
    ExitCode.conflict,
    `the configuration is at version ${now}, and the change was made for version ${expected}; nothing was changed`,
  );
}
