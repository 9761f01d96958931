// SPDX-License-Identifier: Apache-2.0
/** Who calls a node by the replicas' protocol for tests, and may send it anything. */
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import { LENGTH_BYTES, REPLICA_PROTOCOL } from '../replica-wire.js';

export interface ReplicaCaller {
  readonly socket: TLSSocket;
  readonly closed: Promise<void>;
  /** Bytes that the node has sent. */
  readonly heard: number;
}

export const QUESTION: Buffer = Buffer.alloc(LENGTH_BYTES);

/** Each behind its length. */
export function written(...messages: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    messages.flatMap((message) => {
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt32BE(message.length);
      return [length, message];
    }),
  );
}

/** Once the node has taken the connection; fails if it closes it before. */
export function callReplica(port: number, tls: ConnectionOptions): Promise<ReplicaCaller> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...tls, host: '127.0.0.1', port, ALPNProtocols: [REPLICA_PROTOCOL] });
    onTestFinished(() => void socket.destroy());
    socket.setNoDelay(true);
    let heard = 0;
    const closed = new Promise<void>((done) => socket.once('close', () => done()));
    const caller = {
      socket,
      closed,
      get heard() {
        return heard;
      },
    };
    socket.on('error', reject);
    void closed.then(() => reject(new Error('closed')));
    socket.on('data', (bytes) => {
      heard += bytes.length;
      if (heard >= LENGTH_BYTES) resolve(caller);
    });
  });
}
