// SPDX-License-Identifier: Apache-2.0
/** A failure as the person at the terminal sees it: what, where, what to do, and the exit code for scripts. */
import { ExitCode } from './exit-code.js';

export interface Problem {
  /** "web.yaml:3:5: services[0].name" or "services[0].name"; may be empty. */
  readonly where: string;
  readonly reason: string;
  readonly fix: string;
}

export class Failure extends Error {
  readonly exitCode: ExitCode;
  readonly problems: readonly Problem[];

  constructor(exitCode: ExitCode, message: string, problems: readonly Problem[] = []) {
    super(message);
    this.name = 'Failure';
    this.exitCode = exitCode;
    this.problems = problems;
  }
}

export function usage(message: string): Failure {
  return new Failure(ExitCode.usage, message);
}

const agentCodes: Readonly<Record<string, ExitCode>> = {
  unreachable: ExitCode.unreachable,
  untrusted: ExitCode.unreachable,
  unavailable: ExitCode.unreachable,
  timeout: ExitCode.unreachable,
  denied: ExitCode.denied,
  invalid: ExitCode.invalidConfiguration,
  conflict: ExitCode.conflict,
  refused: ExitCode.refused,
  not_found: ExitCode.notFound,
};

/** Of the book of targets. */
const bookCodes: Readonly<Record<string, ExitCode>> = { taken: ExitCode.conflict, missing: ExitCode.notFound };

interface AgentErrorLike extends Error {
  readonly code: string;
  readonly violations: readonly { path: string; reason: string; fix: string }[];
}

/**
 * Any error as a Failure. AgentError and AddressBookError are known by their names, so that commands that need neither
 * need not load their modules.
 */
export function toFailure(reason: unknown): Failure {
  if (reason instanceof Failure) return reason;
  if (reason instanceof Error && reason.name === 'AgentError') {
    const { code, message, violations } = reason as AgentErrorLike;
    return new Failure(
      agentCodes[code] ?? ExitCode.error,
      message,
      violations.map(({ path, reason, fix }) => ({ where: path, reason, fix })),
    );
  }
  const error = reason instanceof Error ? reason : new Error(String(reason));
  if (error.name === 'AddressBookError') {
    return new Failure(bookCodes[(error as AgentErrorLike).code] ?? ExitCode.error, error.message);
  }
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (syscall !== undefined && path !== undefined) {
    const what = code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : error.message;
    return new Failure(ExitCode.error, `can't read "${path}": ${what}`);
  }
  return new Failure(ExitCode.error, error.message);
}
