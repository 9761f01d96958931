// SPDX-License-Identifier: Apache-2.0
/**
 * SWIM's thread, started again whenever it ends by itself: a node whose gossip is silent is dead to all others.
 *
 *   running --ends--> pausing --after the pause--> starting --> running
 *                        ^------------ fails ---------'
 */
import { type NodeEvent, type NodeOptions, SwimThread } from '@marcher/swim';

export interface RestartPauses {
  readonly firstMs: number;
  /** Each failure doubles the pause up to this; having run for as long, the thread begins with the first again. */
  readonly mostMs: number;
}

export interface ThreadKeeper {
  /** Of the thread that is to be started: asked each time. */
  readonly options: () => NodeOptions;
  readonly event: (event: NodeEvent) => void;
  /** So many events are missing, and the thread's members() are right again. */
  readonly resync: (lost: number) => void;
  /** thread: the one that has ended; undefined: it could not be started again. */
  readonly died: (error: Error, againInMs: number, thread: SwimThread | undefined) => void;
  readonly restarted: (thread: SwimThread) => void;
}

export class KeptThread {
  readonly #keeper: ThreadKeeper;
  readonly #pauses: RestartPauses;
  readonly #program: URL | undefined;
  #thread: SwimThread | undefined;
  #starting: Promise<void> | undefined;
  #startedMs = 0;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #kept = true;

  private constructor(keeper: ThreadKeeper, pauses: RestartPauses, program: URL | undefined) {
    this.#keeper = keeper;
    this.#pauses = pauses;
    this.#program = program;
  }

  /** Rejects with SwimError when it can't be started the first time. program: of the thread, see SwimThread.start. */
  static async start(keeper: ThreadKeeper, pauses: RestartPauses, program?: URL): Promise<KeptThread> {
    const kept = new KeptThread(keeper, pauses, program);
    await kept.#start();
    return kept;
  }

  /** undefined: it has ended, and is to be started again. */
  get running(): SwimThread | undefined {
    return this.#thread;
  }

  /** From now on it is not started again. */
  release(): void {
    this.#kept = false;
    clearTimeout(this.#timer);
  }

  async close(): Promise<void> {
    this.release();
    await this.#starting;
    const thread = this.#thread;
    this.#thread = undefined;
    // One that ends meanwhile is closed as well.
    await thread?.close().catch(() => undefined);
  }

  async #start(): Promise<void> {
    const { event, resync } = this.#keeper;
    const listener = { event, resync, died: (error: Error) => this.#ended(error) };
    this.#thread = await SwimThread.start(this.#keeper.options(), listener, ...(this.#program ? [this.#program] : []));
    this.#startedMs = performance.now();
  }

  #ended(error: Error): void {
    const thread = this.#thread;
    this.#thread = undefined;
    if (!this.#kept) return;
    if (performance.now() - this.#startedMs >= this.#pauses.mostMs) this.#failures = 0;
    this.#pause(error, thread);
  }

  #pause(error: Error, thread: SwimThread | undefined): void {
    const { firstMs, mostMs } = this.#pauses;
    // Half of it by chance: what ended this thread may have ended those of other nodes too.
    const pauseMs = Math.min(mostMs, firstMs * 2 ** Math.min(this.#failures, 30)) * (0.5 + Math.random() / 2);
    this.#failures++;
    this.#timer = setTimeout(() => {
      this.#starting = this.#again();
    }, pauseMs);
    this.#keeper.died(error, Math.round(pauseMs), thread);
  }

  async #again(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      if (this.#kept) this.#pause(error as Error, undefined);
      return;
    }
    if (this.#kept && this.#thread !== undefined) this.#keeper.restarted(this.#thread);
  }
}
