// SPDX-License-Identifier: Apache-2.0
/** Who is logged in at the mesh that the page shows, kept as long as the page is open. The token is the main process's alone. */
import { AgentError, type Reach } from '@marcher/client/fleet';
import { type SessionPhase, SessionWatch, type SessionWatchOptions } from '@marcher/client/session-watch';
import type { Bridge } from '../../../ipc/contract.js';
import type { SessionView } from '../../../ipc/session-contract.js';

export interface MeshSessionParts {
  readonly bridge: Pick<Bridge, 'session' | 'keepSession' | 'logIn' | 'logOut'>;
  /** By its name. */
  readonly mesh: string;
  readonly fleet: SessionWatchOptions['fleet'] & { retry(node: string): void };
  readonly reach: Reach;
  readonly clock: SessionWatchOptions['clock'];
}

/** Another object with each change. */
export interface SessionState {
  /** undefined: not known yet. */
  readonly view: SessionView | undefined;
  readonly phase: SessionPhase;
  /** Grows with each look: who was not to be asked then may be now. */
  readonly looks: number;
}

export interface Answers {
  readonly user: string;
  readonly password: string;
  readonly code: string;
}

export class MeshSession {
  readonly #parts: MeshSessionParts;
  readonly #listeners = new Set<() => void>();
  #state: SessionState = { view: undefined, phase: 'good', looks: 0 };
  #watch: SessionWatch | undefined;
  #isClosed = false;

  constructor(parts: MeshSessionParts) {
    this.#parts = parts;
  }

  get state(): SessionState {
    return this.#state;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Fails as Error with a sentence. */
  async start(): Promise<void> {
    const { bridge, mesh } = this.#parts;
    this.#show({ view: await bridge.session(mesh) });
    this.#keepUp();
  }

  close(): void {
    this.#isClosed = true;
    this.#watch?.close();
  }

  /** Fails as Error with a sentence of the agent's. */
  async logIn(answers: Answers): Promise<void> {
    const { bridge, mesh, fleet } = this.#parts;
    this.#show({ view: await bridge.logIn({ mesh, ...answers }), phase: 'good' });
    this.#watch?.begun();
    this.#keepUp();
    for (const { key, link } of fleet.state.nodes.values()) if (link.kind !== 'live') fleet.retry(key);
  }

  /** Fails as Error with a sentence: it is forgotten here then, too. */
  async logOut(): Promise<void> {
    const { bridge, mesh } = this.#parts;
    try {
      await bridge.logOut(mesh);
    } finally {
      const view = await bridge.session(mesh);
      this.#show({ view, phase: view.by === 'session' && view.user === undefined ? 'over' : 'good' });
    }
  }

  /** Only where it is a session that lets somebody in. */
  #keepUp(): void {
    if (this.#watch !== undefined || this.#isClosed || this.#state.view?.by !== 'session') return;
    const { fleet, reach, clock } = this.#parts;
    this.#watch = new SessionWatch({
      ...{ fleet, reach, clock },
      session: {
        expiresMs: () => this.#state.view?.expiresMs ?? 0,
        endsMs: () => this.#state.view?.endsMs ?? 0,
        keep: () => this.#keep(),
      },
      looked: (phase) => this.#show({ phase, looks: this.#state.looks + 1 }),
    });
    this.#watch.start();
  }

  async #keep(): Promise<void> {
    const { bridge, mesh, clock } = this.#parts;
    const view = await bridge.keepSession(mesh);
    const before = this.#state.view;
    if (JSON.stringify(view) !== JSON.stringify(before)) this.#show({ view });
    if (view.by !== 'session' || (view.expiresMs ?? 0) > clock.nowMs()) return;
    throw new AgentError('denied', 'the session is over', [], undefined);
  }

  #show(change: Partial<SessionState>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}
