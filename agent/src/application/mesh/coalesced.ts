// SPDX-License-Identifier: Apache-2.0
/** Work that others can ask for as often as they like: it runs once at a time, and once more for all who asked meanwhile. */

/**
 * pauseMs: after each run, before the next. What is given back is settled as the run is that began after it was asked for.
 */
export function coalesced(work: () => Promise<void>, pauseMs: number): () => Promise<void> {
  let next: Promise<void> | undefined;
  let free: Promise<unknown> = Promise.resolve();
  return () => {
    next ??= free.then(() => {
      next = undefined;
      const run = work();
      free = run.then(pause, pause);
      return run;
    });
    return next;
  };

  function pause(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
  }
}
