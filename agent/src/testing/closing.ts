// SPDX-License-Identifier: Apache-2.0
import type { EventEmitter } from 'node:events';

/**
 * When it is closed, however that came about: events.once() rejects on "error", and a connection that the other side ends
 * while something is written to it may be reset as well as ended.
 */
export function closing(of: EventEmitter): Promise<void> {
  return new Promise((resolve) => {
    of.on('error', () => undefined).once('close', () => resolve());
  });
}
