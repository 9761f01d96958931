// SPDX-License-Identifier: Apache-2.0
/** What the process exits with. Listed by `marcher --help`; scripts depend on the numbers. */
export const ExitCode = {
  ok: 0,
  error: 1,
  usage: 2,
  invalidConfiguration: 3,
  conflict: 4,
  unreachable: 5,
  refused: 6,
  denied: 7,
  notFound: 8,
  /** A test ran and its verdict is negative. */
  testFailed: 9,
  /** --min-acks: the change is in force, and fewer nodes than that have it. */
  unacknowledged: 10,
  /** An audit log is not what was written. */
  auditFindings: 11,
  /** plan --detailed-exitcode: there are changes. */
  changes: 2,
  interrupted: 130,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export const exitCodeText = `Exit codes:
  0  done
  1  another error
  2  the command line is wrong (with plan --detailed-exitcode: there are changes)
  3  the configuration is not valid; nothing was changed
  4  conflict: the configuration has moved since the expected version, or the node is in a mesh; nothing was changed
  5  the agent can't be reached, is not whom it has to be, or can't serve the call now
  6  refused, by the data plane or by a rule; nothing was changed
  7  permission denied
  8  there is no such service, guard, policy, backend, version, member, token, user, key, certificate or target
  9  a test (test ping, balance, simulate) ran and failed
 10  the change is in force, but fewer nodes than --min-acks had it in time
 11  the audit log is not what was written (audit verify)
130  interrupted`;
