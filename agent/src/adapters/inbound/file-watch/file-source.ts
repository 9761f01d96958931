// SPDX-License-Identifier: Apache-2.0
/**
 * A watched file or directory that owns the configuration of the node.
 *
 *   look ──▶ changed ──▶ quiet for a moment ──▶ parse ──▶ apply
 *    ▲                                            └─ failed: the configuration before stays; the status says why
 *    └── a notification of the kernel, or once a second
 *
 * Looking means stat of every file by its path, through all symlinks, so that an editor's rename, a link that is turned to
 * another directory (Kubernetes' "..data") and a file system without notifications all come to the same. Notifications
 * only make it quicker.
 */
import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { formatViolation, locateViolations, type ModelViolation } from '@marcher/model';
import type { Violation } from '@marcher/proto/marcher/v1/config_service_pb';
import { ApplicationError, type Caller } from '../../../ports/use-cases.js';
import { type Declared, type List, type Origin, readSource, type SourceState, statSource } from './read-source.js';

export interface FileSourceOptions {
  readonly path: string;
  readonly apply: (declared: Declared, message: string, caller: Caller) => Promise<{ changed: boolean }>;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  /** Program that parses large sources: parse-child.js as it was built. */
  readonly parser?: string;
  readonly pollMs?: number;
  /** A writer that takes longer between two writes has its first half read; the parse then fails or is replaced. */
  readonly quietMs?: number;
}

export interface FileSourceCondition {
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

/** After what may pass without the files changing. */
const RETRY_MS = 5_000;
/** Violations that a condition names; the log has more. */
const NAMED_MAX = 5;
const LOGGED_MAX = 100;

export class FileSource {
  readonly #options: FileSourceOptions;
  readonly #watchers: FSWatcher[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #busy: Promise<void> | undefined;
  /** Signature of what was last dealt with, whether it worked or not. */
  #done = '';
  #seen = '';
  #seenAt = 0;
  /** Refused for a reason that may pass (data plane, store): tried again although the files are the same. */
  #retryAt = Number.POSITIVE_INFINITY;
  #condition: FileSourceCondition = {
    status: false,
    reason: 'NotReadYet',
    message: 'the source has not been read yet',
  };

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  get condition(): FileSourceCondition {
    return this.#condition;
  }

  /** Reads the source once, then watches it. */
  async start(): Promise<void> {
    this.#watch();
    await this.look(true);
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers) watcher.close();
    await this.#busy;
  }

  #watch(): void {
    const { path } = this.#options;
    // The directory, not the file: a watch on a file stays with the inode that an editor has just replaced.
    for (const directory of new Set([dirname(path), path])) {
      try {
        const watcher = watch(directory, { persistent: false }, (_event, name) => {
          if (directory === path || name === null || name === basename(path) || name.startsWith('..')) this.#soon();
        });
        watcher.on('error', () => watcher.close());
        this.#watchers.push(watcher);
      } catch {
        // Does not exist, or no watches are left: looking once a second finds everything, only later.
      }
    }
  }

  #schedule(delayMs = this.#options.pollMs ?? 1_000): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      void this.look(false).finally(() => this.#schedule(this.#seen === this.#done ? undefined : this.#quietMs));
    }, delayMs);
    this.#timer.unref();
  }

  get #quietMs(): number {
    return this.#options.quietMs ?? 100;
  }

  #soon(): void {
    if (this.#busy === undefined) this.#schedule(20);
  }

  /** One look; with `now`, without waiting for the files to be quiet. */
  look(now: boolean): Promise<void> {
    this.#busy ??= this.#look(now).finally(() => {
      this.#busy = undefined;
    });
    return this.#busy;
  }

  async #look(now: boolean): Promise<void> {
    let state: SourceState;
    try {
      state = statSource(this.#options.path);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#done !== reason) this.#options.log.warn({ reason }, 'configuration source can not be read');
      this.#done = this.#seen = reason;
      this.#fail('SourceUnreadable', reason);
      return;
    }
    const clock = performance.now();
    if (state.signature !== this.#seen) {
      this.#seen = state.signature;
      this.#seenAt = clock;
    }
    if (state.signature === this.#done && clock < this.#retryAt) return;
    if (!now && clock - this.#seenAt < this.#quietMs) return;
    this.#retryAt = Number.POSITIVE_INFINITY;
    await this.#take(state);
    this.#done = state.signature;
  }

  async #take(state: SourceState): Promise<void> {
    const { path, log } = this.#options;
    const started = performance.now();
    let content: Awaited<ReturnType<typeof readSource>>;
    try {
      content = await readSource(state, this.#options.parser);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn({ path, reason }, 'configuration source can not be read');
      this.#fail('SourceUnreadable', reason);
      this.#retryAt = performance.now() + RETRY_MS;
      return;
    }
    if ('violations' in content) {
      this.#refuse(content.violations);
      return;
    }
    const { origins } = content;
    const parsed = performance.now();
    try {
      const caller: Caller = { author: `file:${path}`, origin: 'file', via: 'file' };
      const { changed } = await this.#options.apply(content, '', caller);
      const applied = performance.now();
      this.#condition = { status: true, reason: 'Applied', message: `${path} is in force` };
      const times = { parseMs: Math.round(parsed - started), applyMs: Math.round(applied - parsed) };
      log.info({ path, files: state.files.length, changed, ...times }, 'configuration source was read');
    } catch (error) {
      if (error instanceof ApplicationError && error.code === 'invalid') {
        this.#refuse(located(error.violations.map((violation) => inFile(violation, origins))));
        return;
      }
      const reason = error instanceof Error ? error.message : String(error);
      const details =
        error instanceof ApplicationError ? error.violations.map((v) => `${v.path}: ${v.reason} (${v.fix})`) : [];
      log.warn({ path, reason, details: details.slice(0, LOGGED_MAX) }, 'configuration source could not be applied');
      this.#fail('NotApplied', [reason, ...details.slice(0, NAMED_MAX)].join('; '));
      this.#retryAt = performance.now() + RETRY_MS;
    }
  }

  #refuse(violations: readonly ModelViolation[]): void {
    const lines = violations.map(formatViolation);
    this.#options.log.warn(
      { path: this.#options.path, mistakes: lines.length, violations: lines.slice(0, LOGGED_MAX) },
      'configuration source has mistakes; the configuration before stays in force',
    );
    const rest = lines.length > NAMED_MAX ? `; and ${lines.length - NAMED_MAX} more, see the log` : '';
    this.#fail('Invalid', `${lines.slice(0, NAMED_MAX).join('; ')}${rest}`);
  }

  #fail(reason: string, message: string): void {
    this.#condition = { status: false, reason, message: `${message}; the configuration before stays in force` };
  }
}

/** services[17].name of the merged configuration -> services[2].name of its file. */
function inFile({ path, reason, fix }: Violation, origins: readonly Origin[]): ModelViolation {
  const match = /^(services|guards|trafficPolicies)\[(\d+)\]/.exec(path);
  if (match === null) return { path, reason, fix };
  const list = match[1] as List;
  let index = Number(match[2]);
  for (const { file, counts } of origins) {
    if (index < counts[list]) {
      return { path: `${list}[${index}]${path.slice(match[0].length)}`, reason, fix, source: file };
    }
    index -= counts[list];
  }
  return { path, reason, fix };
}

/** Adds line and column, by reading the files once more. */
function located(violations: readonly ModelViolation[]): ModelViolation[] {
  const byFile = Map.groupBy(violations, ({ source }) => source);
  return [...byFile].flatMap(([source, found]) => {
    if (source === undefined) return found;
    try {
      return locateViolations(readFileSync(source, 'utf8'), found, { source });
    } catch {
      return found;
    }
  });
}
