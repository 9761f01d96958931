// SPDX-License-Identifier: Apache-2.0
/** Adds a node, step by step, and takes that back in reverse. What is so at each moment is progress.ts's. */
import { AgentError } from '../errors.js';
import { plainText } from '../ssh/ssh-error.js';
import { privileged, quoted } from './machine.js';
import {
  nextProgress,
  type Progress,
  type ProgressEvent,
  progressOf,
  STEPS,
  type StepName,
  toUndo,
} from './progress.js';
import { type Ground, type Made, STEPS_DONE_BY, type StepReport } from './steps.js';

const LINE_MAX = 300;

export class Provision {
  readonly #ground: Ground;
  readonly #changed: (progress: Progress) => void;
  readonly #made: Made = { directory: undefined, token: undefined, nodeId: undefined };
  #progress: Progress;

  /** changed: told of every state, in order. */
  constructor(ground: Ground, changed: (progress: Progress) => void) {
    this.#ground = ground;
    this.#changed = changed;
    this.#progress = progressOf(STEPS.filter((step) => step !== 'account' || ground.runner.hasAccount));
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** To the end, or to the step that fails; progress says which. signal: stops it, which is a failure of the step. */
  async run(signal?: AbortSignal): Promise<Progress> {
    this.#take({ kind: 'begin' });
    for (const { name } of this.#progress.steps) {
      if (this.#progress.phase !== 'running') break;
      this.#take({ kind: 'step-begun', step: name });
      try {
        signal?.throwIfAborted();
        await STEPS_DONE_BY[name].do(this.#ground, this.#made, this.#report(name, signal));
        this.#take({ kind: 'step-done', step: name });
      } catch (error) {
        const reason = signal?.aborted ? 'it was stopped' : sentence(error);
        this.#take({ kind: 'step-failed', step: name, reason });
      }
    }
    return this.#progress;
  }

  /**
   * Each step is tried, whatever becomes of the others: what is left says so, and may be tried again. The directory with the journal
   * goes last, and only when nothing on the machine is left.
   */
  async undo(): Promise<Progress> {
    this.#take({ kind: 'undo' });
    if (this.#progress.phase !== 'undoing') return this.#progress;
    const failures: string[] = [];
    for (const step of toUndo(this.#progress)) {
      this.#take({ kind: 'step-undoing', step });
      try {
        if (step === 'send' && failures.length > 0)
          throw new Error(`it says what is still to be undone: ${failures[0]}`);
        await STEPS_DONE_BY[step].undo(this.#ground, this.#made, this.#report(step));
        this.#take({ kind: 'step-undone', step });
      } catch (error) {
        const reason = sentence(error);
        failures.push(reason);
        this.#take({ kind: 'step-left', step, reason });
      }
    }
    this.#take({ kind: 'undo-ended' });
    return this.#progress;
  }

  /** It stays: what only undoing needed is taken away. Fails as AgentError, and may be asked again. */
  async keep(): Promise<Progress> {
    const { directory } = this.#made;
    const { machine, privilege } = this.#ground;
    if (this.#progress.phase === 'done' && directory !== undefined) {
      const { code, stderr } = await machine.run(privileged(`rm -rf -- ${quoted(directory)}`, privilege));
      if (code !== 0) throw new AgentError('failed', `${directory} is left there: ${plainText(stderr)}`, [], undefined);
    }
    this.#take({ kind: 'keep' });
    return this.#progress;
  }

  #take(event: ProgressEvent): void {
    const next = nextProgress(this.#progress, event);
    if (next === this.#progress) return;
    this.#progress = next;
    this.#changed(next);
  }

  #report(step: StepName, signal?: AbortSignal): StepReport {
    let told = 0;
    return {
      said: (text) => {
        const line = plainText(text, LINE_MAX);
        if (line !== '') this.#take({ kind: 'step-said', step, line });
      },
      // A hundredth at a time: nobody sees more.
      share: (share) => {
        if (share < told + 0.01 && share < 1) return;
        told = share;
        this.#take({ kind: 'step-share', step, share });
      },
      ...(signal === undefined ? {} : { signal }),
    };
  }
}

function sentence(error: unknown): string {
  return plainText(error instanceof Error ? error.message : String(error), 1_000);
}
