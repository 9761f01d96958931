// SPDX-License-Identifier: Apache-2.0
/** Which blocks of the project's own code have run, by V8's precise coverage. */
import { type Profiler, Session } from 'node:inspector';

/** Of scripts whose address has this in it. */
const OWN = '/dist/';
const FOREIGN = '/node_modules/';

export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Blocks that have run at all. */
  get blocks(): number {
    return this.#seen.size;
  }

  /** How many of those that ran since the last call had not run before. */
  take(): number {
    const before = this.#seen.size;
    for (const block of this.#ran()) this.#seen.add(block);
    return this.#seen.size - before;
  }

  /** Whether any of them had not; they still count as new. */
  isNew(): boolean {
    for (const block of this.#ran()) if (!this.#seen.has(block)) return true;
    return false;
  }

  *#ran(): Iterable<string> {
    const { result } = this.#post('Profiler.takePreciseCoverage') as Profiler.TakePreciseCoverageReturnType;
    for (const { url, scriptId, functions } of result) {
      if (!url.includes(OWN) || url.includes(FOREIGN) || url.includes('/dist/fuzz/')) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          if (count > 0) yield `${scriptId} ${startOffset} ${endOffset}`;
        }
      }
    }
  }

  #post(method: string, params: object = {}): unknown {
    let answer: unknown;
    // Within one thread it is answered before post() returns.
    this.#session.post(method, params, (error: Error | null, result?: unknown) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }
}
