// SPDX-License-Identifier: Apache-2.0
import { importFproxy, printConfiguration } from '@marcher/model';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Session, TargetOptions } from '../session.js';
import { applySource } from './apply.js';
import { readText, toProblem } from './source.js';

interface ImportOptions extends TargetOptions {
  readonly apply?: boolean;
  readonly message: string;
}

export async function importFile(session: Session, options: ImportOptions, file: string): Promise<ExitCode> {
  const name = file === '-' ? 'standard input' : file;
  const result = importFproxy(await readText(file), name);
  if (result.violations !== undefined) {
    throw new Failure(
      ExitCode.invalidConfiguration,
      `${name} can't be imported; nothing was changed`,
      result.violations.map(toProblem),
    );
  }
  if (options.apply !== true) {
    await session.write(printConfiguration(result.configuration));
    return ExitCode.ok;
  }
  const source = {
    configuration: result.configuration,
    locate: async <T>(problems: readonly T[]) => [...problems],
  };
  return await applySource(
    session,
    { ...options, message: options.message || `imported from ${name}`, output: 'text' },
    source,
    { expectedVersion: 0n, replaceAll: false },
  );
}
