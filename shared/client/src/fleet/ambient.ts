// SPDX-License-Identifier: Apache-2.0
import type { Ambient } from './contract.js';

/** This machine's time and chance. Timers do not keep a process alive that has nothing else to do. */
export function systemAmbient(): Ambient {
  return {
    nowMs: Date.now,
    after: (ms, run) => {
      const timer: unknown = setTimeout(run, ms);
      // Node.js gives an object, browsers a number.
      if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') {
        timer.unref();
      }
      return () => clearTimeout(timer as ReturnType<typeof setTimeout>);
    },
    random: Math.random,
  };
}
