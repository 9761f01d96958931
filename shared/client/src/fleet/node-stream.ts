// SPDX-License-Identifier: Apache-2.0
/**
 * One node's Observe, opened again whenever it ends:
 *
 *   connecting ──first state complete──▶ live ──ends, fails, 45 s of silence──▶ stale ──▶ (back-off) ──▶ live
 *        └──────────── fails ──▶ stale        └── "not you", "not me", too old ──▶ refused ──▶ (60 s) ──▶ live
 *
 * A stream that this side has ended, as a browser keeps what it has brought, is opened again at once: the node stays live.
 * It goes on where it was (resume) as long as the same run of the agent is asked for the same form.
 */
import type { ObserveResponse } from '@marcher/proto/marcher/v1/observe_service_pb';
import { Topic } from '@marcher/proto/marcher/v1/observe_service_pb';
import { AgentError, type AgentErrorCode } from '../agent-error.js';
import { isStreamLimit } from '../stream-limit.js';
import { backOffMs, REFUSED_MS } from './back-off.js';
import type { AgentCalls, Ambient, Link } from './contract.js';
import type { DialGate } from './dial-gate.js';
import { NotTaken } from './node.js';
import { plainText } from './plain-text.js';

/** Three heartbeats. */
const SILENCE_MS = 45_000;
const FIRST_BATCH_MS = 20_000;
/** A stream that ends sooner after its state was complete counts as one more failure: else it would be opened in a loop. */
const SETTLED_MS = 10_000;

const REFUSALS: ReadonlySet<AgentErrorCode> = new Set(['denied', 'untrusted', 'unimplemented']);

const ALL_BUT_MEMBERS = [Topic.STATUS, Topic.CONFIGURATION, Topic.BACKENDS, Topic.TIERS, Topic.TRAFFIC];

export interface NodeStreamOptions {
  /** May fail, as a call does. */
  calls(): AgentCalls;
  readonly ambient: Ambient;
  /** That batches are asked for at. Asked each time that the stream is opened. */
  readonly intervalMs: () => number;
  /** undefined: it does not wait for a place. */
  readonly gate: DialGate | undefined;
  readonly isEntry: boolean;
  /** Whether objects come with what they declare. */
  readonly isWhole: boolean;
  /** May throw NotTaken. */
  take(batch: ObserveResponse, isFirst: boolean): void;
  link(link: Link): void;
}

interface Failure {
  readonly kind: 'stale' | 'refused';
  readonly reason: string;
}

/** undefined: nothing has failed, and the next stream goes on where this one was. */
type End = Failure | undefined;

export class NodeStream {
  readonly #options: NodeStreamOptions;
  readonly #closed = new AbortController();
  #isWhole: boolean;
  #attempt: AbortController | undefined;
  #isRestart = false;
  #resume: { readonly version: bigint; readonly run: string } | undefined;
  #failures = 0;
  #wake: (() => void) | undefined;
  #link: Link;
  #heardMs: number | undefined;

  constructor(options: NodeStreamOptions) {
    this.#options = options;
    this.#isWhole = options.isWhole;
    this.#link = { kind: 'connecting', sinceMs: options.ambient.nowMs() };
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  get linkKind(): Link['kind'] {
    return this.#link.kind;
  }

  start(): void {
    void this.#run();
  }

  close(): void {
    this.#closed.abort();
    this.#attempt?.abort();
    this.#wake?.();
  }

  /** Now, if it waits for its time. */
  retry(): void {
    this.#failures = 0;
    this.#wake?.();
  }

  /** Opened anew from the beginning: the node is another one, or is to say what objects declare. */
  restart(isWhole: boolean): void {
    this.#isWhole = isWhole;
    this.#resume = undefined;
    this.#isRestart = this.#attempt !== undefined;
    this.#attempt?.abort();
    this.retry();
  }

  async #run(): Promise<void> {
    const { ambient, gate } = this.#options;
    while (!this.#closed.signal.aborted) {
      const leave = gate === undefined ? () => {} : await gate.enter(this.#closed.signal);
      if (leave === undefined) return;
      const failure = await this.#observe(leave);
      leave();
      if (this.#closed.signal.aborted) return;
      if (this.#isRestart || failure === undefined) {
        this.#isRestart = false;
        continue;
      }
      const delayMs = failure.kind === 'refused' ? REFUSED_MS : backOffMs(this.#failures, ambient.random());
      this.#failures++;
      const nowMs = ambient.nowMs();
      this.#setLink({ ...failure, sinceMs: this.#awaySinceMs(), retryAtMs: nowMs + delayMs });
      await this.#sleep(delayMs);
    }
  }

  /** Until it ends, with why. */
  async #observe(leave: () => void): Promise<End> {
    const { calls, ambient, isEntry, intervalMs } = this.#options;
    const attempt = new AbortController();
    this.#attempt = attempt;
    let silence = '';
    const awaitBatch = (ms: number): (() => void) =>
      ambient.after(ms, () => {
        silence =
          this.#heardMs === undefined
            ? `it has not answered within ${ms / 1_000} s`
            : `nothing has come for ${ms / 1_000} s`;
        attempt.abort();
      });
    let stopWaiting = awaitBatch(FIRST_BATCH_MS);
    let isFirst = true;
    let liveSinceMs: number | undefined;
    try {
      const request = {
        intervalMs: intervalMs(),
        topics: isEntry ? [] : ALL_BUT_MEMBERS,
        summaries: !this.#isWhole,
        resumeVersion: this.#resume?.version ?? 0n,
        resumeRun: this.#resume?.run ?? '',
      };
      let run = '';
      for await (const batch of calls().observe.observe(request, { signal: attempt.signal })) {
        // What comes after the end, from buffers on the way, is not wanted.
        if (attempt.signal.aborted) break;
        stopWaiting();
        stopWaiting = awaitBatch(SILENCE_MS);
        run = batch.node?.run ?? run;
        this.#options.take(batch, isFirst);
        if (attempt.signal.aborted) break;
        isFirst = false;
        this.#heardMs = ambient.nowMs();
        if (batch.synced) {
          leave();
          liveSinceMs ??= this.#heardMs;
          if (this.#link.kind !== 'live') this.#setLink({ kind: 'live', sinceMs: this.#heardMs });
        }
        if (liveSinceMs !== undefined) {
          this.#resume = { version: batch.version, run };
          if (this.#heardMs - liveSinceMs >= SETTLED_MS) this.#failures = 0;
        }
      }
      return { kind: 'stale', reason: silence || 'the agent has ended the stream' };
    } catch (error) {
      // Only of a stream that was of use: else it would be opened in a loop.
      if (liveSinceMs !== undefined && silence === '' && isStreamLimit(error)) return undefined;
      return this.#failureOf(error, silence);
    } finally {
      stopWaiting();
      attempt.abort();
      this.#attempt = undefined;
    }
  }

  #failureOf(error: unknown, silence: string): Failure {
    if (silence !== '') return { kind: 'stale', reason: silence };
    if (error instanceof NotTaken) {
      this.#resume = undefined;
      return { kind: 'refused', reason: error.message };
    }
    const reason = plainText(error instanceof Error ? error.message : String(error));
    if (!(error instanceof AgentError)) return { kind: 'stale', reason };
    if (error.code === 'unimplemented') return { kind: 'refused', reason: `it is too old to be observed: ${reason}` };
    return { kind: REFUSALS.has(error.code) ? 'refused' : 'stale', reason };
  }

  /** Since when what is shown is as it was; of one that was never heard, since when that is tried. */
  #awaySinceMs(): number {
    return this.#link.kind === 'live' ? (this.#heardMs ?? this.#link.sinceMs) : this.#link.sinceMs;
  }

  #setLink(link: Link): void {
    this.#link = link;
    this.#options.link(link);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#wake = undefined;
        resolve();
      };
      const cancel = this.#options.ambient.after(ms, wake);
      this.#wake = wake;
    });
  }
}
