// SPDX-License-Identifier: Apache-2.0
/** A stream that this side has ended, because what a browser keeps of it grows until it ends. Nothing is wrong with the agent. */
import { Code, ConnectError } from '@connectrpc/connect';

export class StreamLimitReached extends ConnectError {
  constructor(bytes: number) {
    super(
      `this stream has brought ${bytes} bytes, which a browser keeps until it ends: open it again`,
      Code.Unavailable,
    );
  }

  /** ConnectError's own takes each ConnectError for one of whatever class is asked about. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && Object.getPrototypeOf(value) === StreamLimitReached.prototype;
  }
}

/** Wherever in the chain of causes it is: errors of calls are translated on their way. */
export function isStreamLimit(reason: unknown): boolean {
  for (let at: unknown = reason, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof StreamLimitReached) return true;
  }
  return false;
}
