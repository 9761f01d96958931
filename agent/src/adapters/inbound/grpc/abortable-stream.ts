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
  const aborted = new Promise<undefined>((resolve) => {
    wake = () => {
      resolve(undefined);
      // A source at rest runs its clean-up now; one at work gets it queued. Its own failure no longer interests anyone.
      iterator.return?.().catch(() => undefined);
    };
  });
  const onAbort = (): void => wake?.();
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted]);
      if (next === undefined || signal.aborted) {
        if (signal.reason instanceof ConnectError) throw signal.reason;
        return;
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    iterator.return?.().catch(() => undefined);
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
