// SPDX-License-Identifier: Apache-2.0
/**
 * The one place where a test's leftovers are removed, on every way a run may end. The runner writes what it makes to
 * this process's standard input, one JSON value per line; when the input ends (the runner is done, has crashed or was
 * killed) everything is undone: processes killed, namespaces, mounts and directories removed.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

export type Leftover =
  | { readonly kind: 'mark'; readonly value: string }
  | { readonly kind: 'netns'; readonly name: string }
  | { readonly kind: 'mount'; readonly path: string }
  | { readonly kind: 'dir'; readonly path: string }
  // Nothing is to be undone after all.
  | { readonly kind: 'keep' };

/** Environment variable that every process of a run inherits, so that also an engine in its own session is found. */
export const MARK = 'E2E_RUN_MARK';

/** Processes (other than this one) whose environment carries the mark. */
export const marked = (value: string): number[] => {
  const needle = `${MARK}=${value}`;
  const found: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, 'latin1').split('\0');
      if (environment.includes(needle)) found.push(Number(entry));
    } catch {
      // Gone meanwhile, a kernel thread, or not ours to read.
    }
  }
  return found;
};

const QUIET_LOOKS = 3;

const quietly = (action: () => void): void => {
  try {
    action();
  } catch {
    // Already gone.
  }
};

export const undo = async (leftovers: readonly Leftover[]): Promise<void> => {
  const marks = leftovers.filter((l) => l.kind === 'mark').map((l) => l.value);
  // A supervisor may start a new process between two looks, and one that is just being executed shows no environment: look
  // until there is nothing left several times in a row.
  let quiet = 0;
  for (let round = 0; round < 50 && quiet < QUIET_LOOKS; round++) {
    const pids = marks.flatMap(marked);
    quiet = pids.length === 0 ? quiet + 1 : 0;
    for (const pid of pids) quietly(() => process.kill(pid, 'SIGKILL'));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const l of leftovers) {
    if (l.kind === 'netns') quietly(() => execFileSync('ip', ['netns', 'del', l.name], { stdio: 'ignore' }));
    if (l.kind === 'mount') quietly(() => execFileSync('umount', ['-l', l.path], { stdio: 'ignore' }));
  }
  for (const l of leftovers) {
    if (l.kind === 'dir') quietly(() => rmSync(l.path, { recursive: true, force: true }));
  }
};

if (process.argv[1] === import.meta.filename) {
  // A terminal's interrupt goes to the whole group: the runner ends by it, this process by the end of its input.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  const leftovers: Leftover[] = [];
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => leftovers.push(JSON.parse(line) as Leftover));
  lines.on('close', () => {
    if (leftovers.some((l) => l.kind === 'keep')) process.exit(0);
    void undo(leftovers.reverse()).then(() => process.exit(0));
  });
}
