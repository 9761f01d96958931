// SPDX-License-Identifier: Apache-2.0
/** `marcher` as an operator has it: the built program, which is no import of the agent's. */
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../../..');

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Beside PATH, TZ and where compiled code is kept, which all runs share: nothing of this process' own. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** Compiles what has changed since. */
export async function buildMarcher(): Promise<void> {
  await promisify(execFile)(join(ROOT, 'node_modules/.bin/tsc'), ['-b', join(ROOT, 'tui')]);
}

/** One that hangs is not to outlive the test. */
const LIMIT_MS = 60_000;

/** Waits for its end; -1: a signal has ended it. */
export async function runMarcher(args: readonly string[], { env, stdin = '' }: CommandOptions): Promise<CommandResult> {
  const base = { PATH: process.env['PATH'] ?? '', TZ: 'UTC', XDG_CACHE_HOME: join(ROOT, '.cache') };
  const child = spawn(join(ROOT, 'tui/bin/marcher'), args, {
    env: { ...base, ...env },
    stdio: 'pipe',
    timeout: LIMIT_MS,
  });
  const read = async (stream: AsyncIterable<unknown>): Promise<string> => {
    let text = '';
    for await (const data of stream) text += data;
    return text;
  };
  child.stdin.on('error', () => undefined).end(stdin);
  const ended = new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)));
  const [stdout, stderr, code] = await Promise.all([read(child.stdout), read(child.stderr), ended]);
  return { code, stdout, stderr };
}
