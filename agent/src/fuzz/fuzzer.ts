// SPDX-License-Identifier: Apache-2.0
/** Runs a target on its seeds, on what was kept, and on changes of these; what reaches new code is changed further. */
import { Random } from '../domain/replication/sim/random.js';
import type { Coverage } from './coverage.js';
import { mutate } from './mutate.js';
import type { Target } from './target.js';

export interface Finding {
  readonly input: Uint8Array;
  readonly error: unknown;
}

export interface Outcome {
  readonly executions: number;
  /** Inputs, with those that were found by their coverage. */
  readonly corpus: readonly Uint8Array[];
  /** Undefined: nothing was found. */
  readonly finding: Finding | undefined;
}

export interface FuzzOptions {
  readonly kept: readonly Uint8Array[];
  readonly seed: number;
  /** Whether to go on, asked after each batch. */
  readonly goOn: (executions: number) => boolean;
  /** Absent: every change is of what was there in the beginning. */
  readonly coverage?: Coverage;
  readonly batch?: number;
}

export async function fuzz(target: Target, { kept, seed, goOn, coverage, batch = 200 }: FuzzOptions): Promise<Outcome> {
  const random = new Random(seed);
  const corpus = [...target.seeds, ...kept];
  let executions = 0;
  const execute = async (inputs: readonly Uint8Array[]): Promise<Finding | undefined> => {
    for (const input of inputs) {
      executions += 1;
      try {
        const done = target.run(input);
        if (done !== undefined) await done;
      } catch (error) {
        return { input, error };
      }
    }
    return undefined;
  };
  /** Of inputs that together reached new code, those that do by themselves. */
  const keep = async (inputs: readonly Uint8Array[], tell: Coverage): Promise<void> => {
    // Asking takes longer than running.
    await execute(inputs);
    if (!tell.isNew()) return;
    const [only] = inputs;
    if (inputs.length === 1 && only !== undefined) {
      corpus.push(only);
      await execute(inputs);
      tell.take();
      return;
    }
    const half = inputs.length >> 1;
    for (const part of [inputs.slice(0, half), inputs.slice(half)]) await keep(part, tell);
  };
  let finding = await execute(corpus);
  coverage?.take();
  while (finding === undefined && goOn(executions)) {
    const inputs = Array.from({ length: batch }, () => mutate(random.pick(corpus), corpus, random, target.bytesMax));
    finding = await execute(inputs);
    if (finding === undefined && coverage?.isNew()) await keep(inputs, coverage);
  }
  return { executions, corpus, finding };
}
