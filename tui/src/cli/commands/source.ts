// SPDX-License-Identifier: Apache-2.0
/**
 * Configuration files for plan and apply.
 *
 * Only what was parsed is kept: the text of a large file is let go before they are sent, and read again in the
 * rare case that the agent objects and lines are to be shown. What came through a pipe is kept when it is small.
 */
import { readFile, stat } from 'node:fs/promises';
import { create } from '@bufbuild/protobuf';
import {
  type Configuration,
  ConfigurationSchema,
  formatPath,
  KINDS,
  LIST_OF,
  locateViolations,
  type ModelViolation,
  parseConfiguration,
  parsePath,
  TEXT_BYTES_MAX,
} from '@marcher/model';
import { ExitCode } from '../exit-code.js';
import { Failure, type Problem } from '../failure.js';
import { noticed } from '../output/notice.js';
import { bytes } from '../output/quantity.js';

const keptMaxBytes = 4 << 20;
/** About half a second of reading. */
const noticedBytes = 1 << 20;

const lists = KINDS.map((kind) => LIST_OF[kind]);
type List = (typeof lists)[number];

interface Part {
  readonly name: string;
  /** Index of its first item of each list among all. */
  readonly first: Readonly<Record<List, number>>;
  readonly kept?: string;
}

export interface Source {
  readonly configuration: Configuration;
  /** What the agent found wrong, with file, line and column. */
  locate(problems: readonly Problem[]): Promise<Problem[]>;
}

export async function readSource(files: readonly string[]): Promise<Source> {
  const configuration = create(ConfigurationSchema);
  const { services, guards, trafficPolicies } = configuration;
  const parts: Part[] = [];
  const problems: Problem[] = [];
  for (const file of files) {
    const text = await readText(file);
    const name = file === '-' ? 'standard input' : file;
    const parse = () => parseConfiguration(text, { source: name });
    const result =
      text.length < noticedBytes ? parse() : await noticed(`reading ${name} (${bytes(text.length)})`, parse);
    if (result.violations !== undefined) {
      problems.push(...result.violations.map(toProblem));
      continue;
    }
    parts.push({
      name: file,
      first: { services: services.length, guards: guards.length, trafficPolicies: trafficPolicies.length },
      ...(file === '-' && text.length <= keptMaxBytes ? { kept: text } : {}),
    });
    for (const service of result.configuration.services) services.push(service);
    for (const guard of result.configuration.guards) guards.push(guard);
    for (const policy of result.configuration.trafficPolicies) trafficPolicies.push(policy);
  }
  if (problems.length > 0) {
    throw new Failure(ExitCode.invalidConfiguration, 'the configuration is not valid; nothing was changed', problems);
  }
  return {
    configuration,
    async locate(found) {
      const located = [...found];
      const byPart = new Map<Part, { at: number; violation: ModelViolation }[]>();
      for (const [at, { where, reason, fix }] of found.entries()) {
        const segments = parsePath(where);
        const list = lists.find((each) => each === segments[0]);
        const index = segments[1];
        if (list === undefined || typeof index !== 'number') continue;
        const part = parts.findLast((each) => each.first[list] <= index);
        if (part === undefined) continue;
        segments[1] = index - part.first[list];
        const violation = { path: formatPath(segments), reason, fix };
        byPart.set(part, [...(byPart.get(part) ?? []), { at, violation }]);
      }
      for (const [part, mine] of byPart) {
        const text = part.kept ?? (part.name === '-' ? undefined : await readText(part.name));
        const violations = mine.map(({ violation }) => violation);
        const placed = text === undefined ? violations : locateViolations(text, violations, { source: part.name });
        for (const [i, violation] of placed.entries()) located[mine[i]?.at ?? 0] = toProblem(violation);
      }
      return located;
    },
  };
}

export async function readText(file: string): Promise<string> {
  if (file !== '-') {
    const { size } = await stat(file);
    if (size > TEXT_BYTES_MAX) throw tooLarge(file);
    return await readFile(file, 'utf8');
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > TEXT_BYTES_MAX) throw tooLarge('standard input');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function tooLarge(what: string): Failure {
  return new Failure(
    ExitCode.invalidConfiguration,
    `${what} is larger than ${bytes(TEXT_BYTES_MAX)}, the most that is read: split it into several files (-f A -f B)`,
  );
}

export function toProblem({ source, line, column, path, reason, fix }: ModelViolation): Problem {
  const at = line === undefined ? '' : column === undefined ? `:${line}` : `:${line}:${column}`;
  const where = [source === undefined ? '' : source + at, path].filter((part) => part !== '').join(': ');
  return { where, reason, fix };
}
