// SPDX-License-Identifier: Apache-2.0
/**
 * A fleet in another thread, as pages see it: streams are read, decoded and merged there, and what has changed comes here as patches.
 * What a page draws is never held up by more than applying one of them.
 */
import type { FleetState, NodeKey, StateListener } from '@marcher/client/fleet';
import { StateMirror } from '@marcher/client/fleet/mirror';
import type { FromFleet, Port, ToFleet } from './fleet-port.js';

export class RemoteFleet {
  readonly #port: Port<ToFleet, FromFleet>;
  readonly #mirror = new StateMirror();
  readonly #listeners = new Set<{ readonly listener: StateListener }>();
  /** Services of each that watches some. */
  readonly #watched = new Set<readonly string[]>();
  #watchIsDue = false;

  constructor(port: Port<ToFleet, FromFleet>) {
    this.#port = port;
    port.addEventListener('message', ({ data }) => {
      const isComplete = this.#mirror.take(data.patch);
      // Before anybody draws: the next one is made meanwhile.
      this.#tell({ kind: 'taken' });
      if (isComplete) for (const { listener } of [...this.#listeners]) listener(this.state);
    });
  }

  get state(): FleetState {
    return this.#mirror.state;
  }

  readonly subscribe = (listener: StateListener): (() => void) => {
    const one = { listener };
    this.#listeners.add(one);
    return () => void this.#listeners.delete(one);
  };

  readonly watch = (services: Iterable<string>): (() => void) => {
    const wanted = [...services];
    this.#watched.add(wanted);
    this.#tellWatched();
    return () => {
      this.#watched.delete(wanted);
      this.#tellWatched();
    };
  };

  pause(): void {
    this.#tell({ kind: 'pause' });
  }

  resume(): void {
    this.#tell({ kind: 'resume' });
  }

  retry(node: NodeKey): void {
    this.#tell({ kind: 'retry', node });
  }

  /** Once for all of a turn: a page that is drawn anew takes its wishes back and has them again. */
  #tellWatched(): void {
    if (this.#watchIsDue) return;
    this.#watchIsDue = true;
    queueMicrotask(() => {
      this.#watchIsDue = false;
      this.#tell({ kind: 'watch', services: [...new Set([...this.#watched].flat())] });
    });
  }

  #tell(message: ToFleet): void {
    this.#port.postMessage(message, []);
  }
}
