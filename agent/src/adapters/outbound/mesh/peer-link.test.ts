// SPDX-License-Identifier: Apache-2.0
/** When a connection is taken for dead. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createMeshListener } from '../identity/mesh-listener.js';
import { testAuthority } from '../identity/testing/mesh.js';
import { PeerLink } from './peer-link.js';
import { LENGTH_BYTES, REPLICA_PROTOCOL } from './replica-wire.js';
import { identity, soon } from './testing/live-mesh.js';

/** Looks are made by the test alone. */
const PING_MS = 1_000_000_000;
const STEP_BYTES = 1024 * 1024;
/** Kernels take some 6 MiB of it while nobody reads, and more only when much of that was read. */
const MESSAGE_BYTES = 48 * 1024 * 1024;

test('a connection lives while a large message goes out, and is dead when nothing moves any more', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const authority = await testAuthority(Date.now());
  const [one, two] = await Promise.all([identity(authority, 1n), identity(authority, 2n)]);
  // Reads as much as it is told to, and answers nothing.
  let read = 0;
  let goal = 0;
  let node: TLSSocket | undefined;
  const listener = createMeshListener(two.mesh, [REPLICA_PROTOCOL], {
    peer(socket) {
      node = socket;
      socket.write(new Uint8Array(LENGTH_BYTES));
      socket.on('data', (bytes) => {
        read += bytes.length;
        if (read >= goal) socket.pause();
      });
    },
    refused: () => {},
  });
  onTestFinished(() => void listener.close());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');

  let waits = true;
  const ended: unknown[] = [];
  const link = new PeerLink({
    target: { host: '127.0.0.1', port: (listener.address() as AddressInfo).port },
    tls: one.mesh.dialOptions(),
    timeoutMs: 10_000,
    pingMs: PING_MS,
    take() {
      if (!waits) return undefined;
      waits = false;
      return { type: 'push', frame: new Uint8Array(MESSAGE_BYTES) };
    },
    opened: () => {},
    ended: (error) => void ended.push(error),
  });
  onTestFinished(() => link.destroy());
  await soon(() => expect(link.socket?.bytesWritten).toBeGreaterThan(0));

  for (let look = 0; look < 5; look++) {
    const before = link.socket?.bytesWritten ?? 0;
    await soon(() => {
      goal = read + STEP_BYTES;
      node?.resume();
      expect(link.socket?.bytesWritten).toBeGreaterThan(before);
    });
    expect(link.socket?.bytesWritten).toBeLessThan(MESSAGE_BYTES);
    vi.advanceTimersByTime(PING_MS);
    expect(ended).toEqual([]);
  }
  // One for what has moved in the end.
  vi.advanceTimersByTime(3 * PING_MS);
  await soon(() => expect(ended).toMatchObject([{ message: 'it does not answer any more' }]));
});
