// SPDX-License-Identifier: Apache-2.0
/**
 * Messages of another node's replica to this one's, from a connection of their own (replica-wire.ts).
 *
 * Bounded: what is read and not taken yet, by reading nothing meanwhile, which TCP makes the other end wait for; what is
 * answered and not read, in the same way; time in which nothing comes.
 */
import type { TLSSocket } from 'node:tls';
import type { Addressed } from '../../../domain/replication/contract.js';
import { decodeMessage } from '../../../domain/replication/message-codec.js';
import { LENGTH_BYTES, MESSAGE_MAX_BYTES } from '../../outbound/mesh/replica-wire.js';
import { ReplicaReader } from './replica-reader.js';

/** Messages are taken for so long at a stretch; then others have their turn. */
const STRETCH_MS = 8;

export interface ReplicaStreamOptions {
  /** A connection on which nothing came for so long is closed: others ask every few seconds (peer-link.ts). */
  readonly idleMs: number;
  readonly receive: (message: Addressed) => void;
  /** A message that is none: of a later version, or broken. It is left aside. */
  readonly fault: (fault: string) => void;
  /** It breaks the rules of the wire: the connection is closed. */
  readonly broken: (reason: string) => void;
  /** receive has failed, which is this node's fault: the connection is closed. */
  readonly failed: (error: unknown) => void;
}

/** The connection is over when the socket emits "close". */
export function takeReplicaMessages(socket: TLSSocket, options: ReplicaStreamOptions): void {
  const reader = new ReplicaReader(MESSAGE_MAX_BYTES);
  /** Since others had their turn. */
  let busyMs = 0;

  socket.setTimeout(options.idleMs, () => socket.destroy());
  answer(1);
  socket.on('data', (chunk) => {
    reader.push(chunk);
    take();
  });

  function take(): void {
    const startedMs = performance.now() - busyMs;
    let questions = 0;
    for (;;) {
      const bytes = reader.next();
      if (bytes === undefined) break;
      if (bytes.length === 0) questions += 1;
      else if (!given(bytes)) return;
      busyMs = performance.now() - startedMs;
      if (busyMs >= STRETCH_MS) break;
    }
    if (reader.fault !== undefined) {
      options.broken(reader.fault);
      socket.destroy();
      return;
    }
    answer(questions);
    if (socket.writableNeedDrain) {
      socket.pause();
      socket.once('drain', goOn);
    } else if (busyMs >= STRETCH_MS) {
      socket.pause();
      setImmediate(goOn);
    }
  }

  function goOn(): void {
    busyMs = 0;
    // What came before the other end has ended the stream counts, what came before it was cut off does not.
    if (socket.destroyed && !socket.readableEnded) return;
    socket.resume();
    take();
  }

  /** Whether it goes on. */
  function given(bytes: Uint8Array): boolean {
    const message = decodeMessage(bytes);
    if ('fault' in message) {
      options.fault(message.fault);
      return true;
    }
    try {
      options.receive(freed(message));
    } catch (error) {
      options.failed(error);
      socket.destroy();
      return false;
    }
    // It may be what cuts the connection off.
    return !socket.destroyed || socket.readableEnded;
  }

  function answer(questions: number): void {
    if (questions > 0 && socket.writable) socket.write(Buffer.alloc(questions * LENGTH_BYTES));
  }
}

/** Frames may be kept for long, and are views of a chunk: a small one would hold on to all that came with it. */
function freed(message: Addressed): Addressed {
  if (message.type === 'push') return { ...message, frame: new Uint8Array(message.frame) };
  if (message.type === 'frames') return { ...message, frames: message.frames.map((frame) => new Uint8Array(frame)) };
  return message;
}
