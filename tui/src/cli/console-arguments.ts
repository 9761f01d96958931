// SPDX-License-Identifier: Apache-2.0
/** A command line without a subcommand, which opens the console: what may stand in it. */
import { usage } from './failure.js';
import type { TargetOptions } from './session.js';

export interface ConsoleArguments extends TargetOptions {
  /** File that what is shown is written to. */
  readonly record?: string;
  /** File that is shown instead of a mesh. */
  readonly replay?: string;
}

/** What each takes. */
const OPTIONS: Readonly<Record<string, keyof ConsoleArguments>> = {
  ...{ '-t': 'target', '--target': 'target', '--record': 'record', '--replay': 'replay' },
  ...{ '--ca-file': 'caFile', '--cert-file': 'certFile', '--key-file': 'keyFile' },
  ...{ '--token-file': 'tokenFile', '--node-id': 'nodeId' },
};

/** undefined: there is a subcommand, or something else that is not the console's. Failure: it is, and wrong. */
export function consoleArguments(args: readonly string[]): ConsoleArguments | undefined {
  const found: Partial<Record<keyof ConsoleArguments, string>> = {};
  const given = [...args];
  const missing: string[] = [];
  for (let word = given.shift(); word !== undefined; word = given.shift()) {
    const [, flag = word, joined] = /^(--[a-z-]+)=(.*)$/s.exec(word) ?? [];
    const option = OPTIONS[flag];
    if (option === undefined) return undefined;
    const value = joined ?? given.shift();
    if (value === undefined || value === '') missing.push(flag);
    else found[option] = value;
  }
  // Of a line that commander knows as well it says what is wrong, as of any other.
  if (missing.some((flag) => flag === '-t' || flag === '--target')) return undefined;
  if (missing.length > 0) throw usage(`${missing.join(', ')} needs a value, such as ${missing[0]} FILE`);
  const { replay, ...others } = found;
  if (replay === undefined) return found;
  const [other] = Object.keys(others);
  if (other !== undefined) throw usage('--replay shows a recording and asks nobody: it stands alone');
  return { replay };
}
