// SPDX-License-Identifier: Apache-2.0
/** What bringing a node onto a machine needs of it: a shell there. */
import type { Readable } from 'node:stream';

export interface Ran {
  readonly code: number;
  /** The last 64 KiB of each, as it was said: control characters and all. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** What the command reads. Secrets go here, never into the script: others on the machine see that. */
  readonly input?: string | Readable;
  readonly signal?: AbortSignal;
  /** Default 60,000. */
  readonly timeoutMs?: number;
  /** What it says, while it does. */
  readonly heard?: (text: string) => void;
}

export interface Machine {
  /** A POSIX shell's script. Fails as AgentError where it can't be run to its end; another exit code than 0 is no failure. */
  run(script: string, options?: RunOptions): Promise<Ran>;
}

/** One word of a shell, whatever is in it. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export type Privilege = 'root' | 'sudo' | 'none';

/** The script as root runs it; none: as whoever logs in. */
export function privileged(script: string, privilege: Privilege): string {
  return privilege === 'sudo' ? `exec sudo -n /bin/sh -c ${quoted(script)}` : script;
}
