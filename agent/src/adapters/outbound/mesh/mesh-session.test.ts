// SPDX-License-Identifier: Apache-2.0
import { EventEmitter } from 'node:events';
import { expect, test, vi } from 'vitest';
import { type MeshSession, watchSession } from './mesh-session.js';

test('a connection that was destroyed and has not said so yet is not asked whether it is there', () => {
  vi.useFakeTimers();
  try {
    let pings = 0;
    const http2 = Object.assign(new EventEmitter(), {
      destroyed: false,
      ping(): boolean {
        // As node:http2 does.
        if (http2.destroyed) throw new Error('The session has been destroyed');
        pings += 1;
        return true;
      },
    });
    const session = { http2, socket: { bytesRead: 0 } } as unknown as MeshSession;
    watchSession(session, 10, () => {});
    vi.advanceTimersByTime(15);
    http2.destroyed = true;
    vi.advanceTimersByTime(100);
    expect([pings, vi.getTimerCount()]).toEqual([1, 0]);
  } finally {
    vi.useRealTimers();
  }
});
