// SPDX-License-Identifier: Apache-2.0
/** Runs one command line and answers with the exit code. */
import { CommanderError } from 'commander';
import { consoleArguments } from './console-arguments.js';
import { ExitCode } from './exit-code.js';
import { type Failure, toFailure } from './failure.js';
import { createStyle, printable } from './output/style.js';
import { createProgram, type Outcome } from './program.js';
import { Session } from './session.js';

const problemsShown = 50;

export async function run(args: readonly string[]): Promise<ExitCode> {
  const session = new Session();
  const outcome: Outcome = { code: ExitCode.ok };
  const program = createProgram(session, outcome);
  // Settings that commander copies to subcommands only when they are made before them.
  const visit = (command: typeof program): void => {
    command.exitOverride().showSuggestionAfterError().showHelpAfterError('(--help shows what is expected)');
    for (const sub of command.commands) visit(sub);
  };
  visit(program);
  // Completion is asked about words that look like flags; they are not flags of this command line.
  const line = args[0] === '__complete' ? ['__complete', '--', ...args.slice(1)] : args;
  const usageCode = args.includes('--detailed-exitcode') ? ExitCode.error : ExitCode.usage;
  try {
    const opened = consoleArguments(args);
    if (opened !== undefined) {
      if (isTerminal()) return await (await import('./commands/console.js')).openConsoleOn(opened);
      program.outputHelp({ error: true });
      process.stderr.write(NO_TERMINAL);
      return ExitCode.usage;
    }
    await program.parseAsync(line, { from: 'user' });
    return outcome.code;
  } catch (reason) {
    if (reason instanceof CommanderError) {
      // Help and version were asked for; everything else commander has explained on standard error.
      return reason.exitCode === 0 ? ExitCode.ok : usageCode;
    }
    const failure = toFailure(reason);
    if (failure.exitCode === ExitCode.interrupted) return failure.exitCode;
    process.stderr.write(explainFailure(failure));
    const detailed = args.includes('--detailed-exitcode');
    return detailed ? ExitCode.error : failure.exitCode;
  } finally {
    session.close();
  }
}

function isTerminal(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true && process.env['TERM'] !== 'dumb';
}

const NO_TERMINAL = `
Without a command marcher opens its console, for which standard input and output have to be a terminal (and TERM not dumb).
For programs: marcher get services -o json, marcher status -o json, marcher watch services -o json.
`;

export function explainFailure(failure: Failure): string {
  const style = createStyle(process.stderr, process.env);
  const lines = [`${style.red('error:')} ${printable(failure.message)}`];
  for (const { where, reason, fix } of failure.problems.slice(0, problemsShown)) {
    lines.push(`  ${where === '' ? '' : `${style.bold(printable(where))}: `}${printable(reason)}`);
    if (fix !== '') lines.push(`      ${style.dim('fix:')} ${printable(fix)}`);
  }
  const rest = failure.problems.length - problemsShown;
  if (rest > 0) lines.push(`  … and ${rest} more`);
  return `${lines.join('\n')}\n`;
}
