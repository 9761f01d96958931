// SPDX-License-Identifier: Apache-2.0
/**
 * What only the person at the screen can say, until the page has shown it and brings the answer. The page asks for the next one; a
 * page that has begun anew is told all that are open again.
 */
import type { Question } from '../ipc/contract.js';
import { ConsoleError } from './ipc-server.js';

/** Nobody is at the screen. */
const OPEN_MS = 300_000;
const OPEN_MAX = 32;

export interface Answered {
  readonly answers: readonly string[];
  readonly keep: boolean;
}

interface Open {
  readonly question: Question;
  readonly answered: (answered: Answered | undefined) => void;
}

interface Waiting {
  readonly after: number;
  readonly told: (question: Question) => void;
}

export class OpenQuestions {
  readonly #open = new Map<number, Open>();
  /** Of the page that is there; one that has gone is not told. */
  #waiting: Waiting | undefined;
  #last = 0;

  /** undefined: nobody answers that. */
  ask(asked: Omit<Question, 'id'>): Promise<Answered | undefined> {
    if (this.#open.size >= OPEN_MAX) return Promise.resolve(undefined);
    const question: Question = { id: ++this.#last, ...asked };
    return new Promise((resolve) => {
      const timer = setTimeout(() => answered(undefined), OPEN_MS);
      timer.unref();
      const answered = (answer: Answered | undefined): void => {
        clearTimeout(timer);
        this.#open.delete(question.id);
        resolve(answer);
      };
      this.#open.set(question.id, { question, answered });
      this.#tell();
    });
  }

  /** The first whose id is larger, when there is one. */
  next(after: number): Promise<Question> {
    return new Promise((told) => {
      this.#waiting = { after, told };
      this.#tell();
    });
  }

  answer(id: number, answers: readonly string[] | undefined, keep: boolean): void {
    const open = this.#open.get(id);
    if (open === undefined)
      throw new ConsoleError('nobody waits for that answer any more: it is asked again when it is needed');
    const { fields } = open.question;
    if (answers !== undefined && answers.length !== fields.length) {
      throw new ConsoleError(`that question takes ${fields.length} answers`);
    }
    open.answered(answers === undefined ? undefined : { answers, keep: keep && open.question.mayKeep });
  }

  #tell(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    for (const { question } of this.#open.values()) {
      if (question.id <= waiting.after) continue;
      this.#waiting = undefined;
      waiting.told(question);
      return;
    }
  }
}
