// SPDX-License-Identifier: Apache-2.0
/** --min-acks: an answer that waits until other nodes of the mesh have the change. */
import type { Command } from 'commander';
import { ExitCode } from './exit-code.js';
import { plural } from './output/quantity.js';
import { positiveSeconds, type Session, wholeNumber } from './session.js';

export interface AckOptions {
  readonly minAcks?: string;
  readonly ackTimeout?: string;
}

/** The agent waits no longer. */
const TIMEOUT_MAX_MS = 60_000;

export function withAcks(command: Command): Command {
  return command
    .option('--min-acks <N>', 'in a mesh: answer when so many other nodes have the change on disk')
    .option('--ack-timeout <TIME>', 'how long to wait for them, at most 60s (default: 5s)');
}

/** Fields of a request. */
export function acksOf({ minAcks, ackTimeout }: AckOptions): { minAcks: number; ackTimeoutMs: number } {
  const ackTimeoutMs = ackTimeout === undefined ? 0 : Math.ceil(positiveSeconds(ackTimeout, '--ack-timeout') * 1_000);
  return {
    minAcks: minAcks === undefined ? 0 : wholeNumber(minAcks, '--min-acks', 1, 65_535),
    ackTimeoutMs: Math.min(ackTimeoutMs, TIMEOUT_MAX_MS),
  };
}

/** Says who has it; too few are no failure of the change, and not what was asked for either. */
export async function acknowledged(
  session: Session,
  options: AckOptions & { readonly output: 'text' | 'json' },
  { changed, acks }: { readonly changed: boolean; readonly acks: number },
): Promise<ExitCode> {
  const { minAcks } = acksOf(options);
  if (minAcks === 0 || !changed) return ExitCode.ok;
  const have = `${plural(acks, 'other node')} ${acks === 1 ? 'has' : 'have'} it`;
  if (acks >= minAcks) {
    if (options.output === 'text') await session.write(session.style.dim(`${have} on disk.\n`));
    return ExitCode.ok;
  }
  process.stderr.write(
    `The change is in force at this node, but only ${have} so far, of ${minAcks} asked for: the others get it when they ` +
      'can be reached; see marcher mesh members.\n',
  );
  return ExitCode.unacknowledged;
}
