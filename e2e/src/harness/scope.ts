// SPDX-License-Identifier: Apache-2.0
/** A run's processes, namespaces and directories: made here, undone by the reaper whatever happens. */
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PACE, SELDOMER } from './pace.js';
import { type Leftover, MARK } from './reaper.js';

export const REPOSITORY = path.resolve(import.meta.dirname, '../../..');

/** Where the Node programs that are started keep what V8 made of their sources: an agent starts in three quarters of the time. */
export const COMPILED = path.join(REPOSITORY, '.cache/compiled');

export interface SpawnOptions {
  /** Network namespace to run in; the runner's own when absent. */
  readonly netns?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** File that the standard output and error are appended to. */
  readonly log?: string;
  /** Opens an IPC channel (Node children only). */
  readonly ipc?: boolean;
}

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let serial = 0;

export class Scope {
  readonly dir: string;
  readonly logs: string;
  readonly #mark: string;
  readonly #reaper: ChildProcess;
  readonly #children = new Set<ChildProcess>();

  /** logs: where log files are kept after the run. */
  constructor(logs: string) {
    serial += 1;
    this.#mark = `${process.pid}-${serial}`;
    this.dir = mkdtempSync(path.join(tmpdir(), 'marcher-e2e-'));
    this.logs = logs;
    mkdirSync(logs, { recursive: true });
    this.#reaper = spawn(process.execPath, [path.join(import.meta.dirname, 'reaper.js')], {
      stdio: ['pipe', 'ignore', 'inherit'],
      detached: true,
    });
    // The reaper may only end because it was killed: what it would have removed then stays, and nothing else is lost.
    this.#reaper.stdin?.on('error', () => {});
    this.#leave({ kind: 'mark', value: this.#mark });
    this.#leave({ kind: 'dir', path: this.dir });
  }

  #leave(leftover: Leftover): void {
    this.#reaper.stdin?.write(`${JSON.stringify(leftover)}\n`);
  }

  /** Unique, and short enough for an interface name's prefix. */
  name(suffix: string): string {
    return `m${this.#mark.replace('-', 'x')}${suffix}`;
  }

  addNetns(suffix: string): string {
    const name = this.name(suffix);
    this.#leave({ kind: 'netns', name });
    execFileSync('ip', ['netns', 'add', name]);
    execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    return name;
  }

  /** A tmpfs of so many bytes, for a disk that gets full. */
  addSmallDisk(name: string, bytes: number): string {
    const target = path.join(this.dir, name);
    mkdirSync(target);
    this.#leave({ kind: 'mount', path: target });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'marcher-e2e', target]);
    return target;
  }

  /** A BPF file system of the run's own: what is pinned there goes with it. */
  addBpffs(): string {
    const target = path.join(this.dir, 'bpf');
    mkdirSync(target);
    this.#leave({ kind: 'mount', path: target });
    execFileSync('mount', ['-t', 'bpf', 'marcher-e2e', target]);
    return target;
  }

  #command(netns: string | undefined, argv: readonly string[]): [string, string[]] {
    if (netns === undefined) return [argv[0] as string, argv.slice(1)];
    return ['nsenter', [`--net=/run/netns/${netns}`, '--', ...argv]];
  }

  spawn(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [file, args] = this.#command(options.netns, argv);
    // A log is a file of the child's own rather than a pipe through us, so that a child may outlive us.
    const log = options.log === undefined ? undefined : openSync(path.join(this.logs, options.log), 'a');
    const output = log ?? 'pipe';
    const stdio: StdioOptions = ['ignore', output, output, ...(options.ipc ? (['ipc'] as const) : [])];
    const child = spawn(file, args, {
      stdio,
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILED, ...options.env, [MARK]: this.#mark },
    });
    if (log !== undefined) closeSync(log);
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  /** Runs a command to its end and hands back what it printed; never throws for an exit code. */
  async run(argv: readonly string[], options: SpawnOptions & { timeoutMs?: number } = {}): Promise<Output> {
    const child = this.spawn(argv, options);
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), (options.timeoutMs ?? 30_000) * PACE);
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (exit, signal) => resolve(exit ?? (signal === null ? 1 : 128)));
    });
    clearTimeout(timer);
    return { code, stdout, stderr };
  }

  /** Runs a command that must succeed. */
  async must(argv: readonly string[], options: SpawnOptions & { timeoutMs?: number } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(argv, options);
    if (code !== 0) throw new Error(`'${argv.join(' ')}' ended with ${code}: ${stderr.trim() || stdout.trim()}`);
    return stdout;
  }

  /** Lets everything live on after this process; hands back what a later one needs to undo it. */
  async keep(): Promise<Leftover[]> {
    for (const child of this.#children) {
      if (child.connected) child.disconnect();
      child.unref();
    }
    this.#leave({ kind: 'keep' });
    await this.close();
    return [
      { kind: 'mark', value: this.#mark },
      { kind: 'dir', path: this.dir },
    ];
  }

  /** Undoes everything; returns when it is undone. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      if (this.#reaper.exitCode !== null || this.#reaper.signalCode !== null) resolve();
      else this.#reaper.on('exit', () => resolve());
    });
    this.#reaper.stdin?.end();
    await ended;
  }
}

/** Milliseconds of a machine at full pace. */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms * PACE));

/** Polls until the condition holds (anything but undefined and false), or throws what was awaited. */
export const until = async <T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 10_000,
  intervalMs = 20,
): Promise<T> => {
  const end = Date.now() + timeoutMs * PACE;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) {
      const why = last instanceof Error ? `: ${last.message}` : '';
      throw new Error(`waited ${timeoutMs * PACE} ms in vain for ${what}${why}`);
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMs * SELDOMER));
  }
};

/** Wall-clock milliseconds with a fraction; comparable between processes of one machine. */
export const now = (): number => performance.timeOrigin + performance.now();
