// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the session that a console is let in by, while nobody calls, too, and says when somebody has to log in again. Runs in
 * browsers as well as in Node.js.
 *
 *   good ──5 min before its end──▶ ending ──12 hours, ended by somebody, agent away for too long──▶ over ──begun()──▶ good
 */
import { AgentError } from './agent-error.js';
import type { Ambient, FleetState, Reach } from './fleet/contract.js';

/** ending: it can't be renewed for much longer. over: no call is let in by it. */
export type SessionPhase = 'good' | 'ending' | 'over';

export interface KeptSession {
  /** Unix time: from then on its token is good for nothing, unless it is renewed before. */
  expiresMs(): number;
  /** Unix time: it is not renewed beyond that. */
  endsMs(): number;
  /** Renews it where that is due. Fails where it is over. */
  keep(): Promise<void>;
}

export interface SessionWatchOptions {
  readonly session: KeptSession;
  readonly fleet: { readonly state: FleetState; subscribe(listener: () => void): () => void };
  readonly reach: Reach;
  readonly clock: Pick<Ambient, 'nowMs' | 'after'>;
  /** Told after each look. isNews: the phase is another one than before. */
  looked(phase: SessionPhase, isNews: boolean): void;
}

const LOOK_MS = 15_000;
const WARN_MS = 5 * 60_000;
const ASK_MS = 10_000;

export class SessionWatch {
  readonly #options: SessionWatchOptions;
  #phase: SessionPhase = 'good';
  #wasRefused = false;
  #isLooking = false;
  #isClosed = false;
  /** Looks of before another session was begun say nothing of that. */
  #session = 0;
  #cancel = (): void => undefined;
  #unsubscribe = (): void => undefined;

  constructor(options: SessionWatchOptions) {
    this.#options = options;
  }

  get phase(): SessionPhase {
    return this.#phase;
  }

  start(): void {
    const { session, fleet, clock } = this.#options;
    if (clock.nowMs() >= session.expiresMs()) this.#told('over');
    this.#unsubscribe = fleet.subscribe(() => {
      const wasRefused = this.#wasRefused;
      this.#wasRefused = this.#isRefused();
      // Nobody has to wait for the next look to learn why nothing comes any more.
      if (this.#wasRefused && !wasRefused) void this.#look();
    });
    this.#again();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.#unsubscribe();
  }

  /** Another session is there. */
  begun(): void {
    this.#session++;
    this.#phase = 'good';
  }

  #again(): void {
    this.#cancel = this.#options.clock.after(LOOK_MS, () => {
      void this.#look().finally(() => {
        if (!this.#isClosed) this.#again();
      });
    });
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const before = this.#session;
    const phase = await this.#found().finally(() => {
      this.#isLooking = false;
    });
    if (!this.#isClosed && this.#session === before) this.#told(phase);
  }

  #told(phase: SessionPhase): void {
    const isNews = phase !== this.#phase;
    this.#phase = phase;
    this.#options.looked(phase, isNews);
  }

  async #found(): Promise<SessionPhase> {
    const { session, clock } = this.#options;
    try {
      await session.keep();
      if (await this.#isEnded()) return 'over';
    } catch (error) {
      if (clock.nowMs() >= session.expiresMs() || isDenied(error)) return 'over';
    }
    return clock.nowMs() >= session.endsMs() - WARN_MS ? 'ending' : 'good';
  }

  #isRefused(): boolean {
    for (const { isEntry, link } of this.#options.fleet.state.nodes.values()) {
      if (isEntry) return link.kind === 'refused';
    }
    return false;
  }

  /** By somebody: by its times it is good, and the agent wants it no more. */
  async #isEnded(): Promise<boolean> {
    if (!this.#isRefused()) return false;
    try {
      await this.#options.reach.entry.access.whoAmI({}, { timeoutMs: ASK_MS });
      return false;
    } catch (error) {
      return isDenied(error);
    }
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof AgentError && error.code === 'denied';
}
