// SPDX-License-Identifier: Apache-2.0
/**
 * Ends a stream with its call.
 *
 * A client that vanishes while the server waits for it to read leaves the writer suspended for good, and a source that
 * has nothing to say never notices. So the source is closed from the outside when the call's signal aborts. After a
 * deadline or a shutdown the call ends with that reason, after a plain disconnect without one.
 */
import { ConnectError } from '@connectrpc/connect';

export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
  const iterator = source[Symbol.asyncIterator]();
  let wake: (() => void) | undefined;
  // A source at rest runs its clean-up now; one at work gets it queued. Its own failure no longer interests anyone.
  const close = (): void => void iterator.return?.().catch(() => undefined);
  const onAbort = (): void => {
    wake?.();
    close();
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted) {
      // Not Promise.race with one lasting promise: that keeps a reaction per message for the life of the stream.
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || signal.aborted) break;
      if (next.done === true) return;
      yield next.value;
    }
    if (signal.reason instanceof ConnectError) throw signal.reason;
  } finally {
    signal.removeEventListener('abort', onAbort);
    close();
  }
}

/** Resolves after the time, or at once when the signal aborts; tells whether the time has passed. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(false);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve(true);
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
