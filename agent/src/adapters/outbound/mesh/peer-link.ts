// SPDX-License-Identifier: Apache-2.0
/**
 * One connection to one node for replicas' messages, from dialling to its end:
 *
 *   dialling --its first word has come--> open --any end--> ended, once
 *
 * What waits is taken (replica-sender.ts) only while the socket takes what is written: on an idle link each message
 * leaves in the turn in which it was made, and under load most of the cost of a write is shared.
 */
import type { TLSSocket } from 'node:tls';
import type { Addressed } from '../../../domain/replication/contract.js';
import { type Dialled, type DialOptions, dialMesh, type MeshTarget } from './mesh-dial.js';
import { ReplicaSender } from './replica-sender.js';
import { REPLICA_PROTOCOL } from './replica-wire.js';

export interface LinkOptions extends Omit<DialOptions, 'signal'> {
  readonly target: MeshTarget;
  /** A connection that is dead is noticed within three times this. */
  readonly pingMs: number;
  readonly take: () => Addressed | undefined;
  readonly opened: () => void;
  /** Not after destroy() or finish(). */
  readonly ended: (error: unknown) => void;
}

/** So many looks in turn without a word, while a question waits, and a connection is taken for dead. */
const MISSED_MAX = 2;

interface Open {
  readonly socket: TLSSocket;
  /** Fails with the socket's error. */
  readonly closed: Promise<void>;
}

export class PeerLink {
  readonly #options: LinkOptions;
  readonly #sender: ReplicaSender;
  readonly #over = new AbortController();
  readonly #run: Promise<void>;
  #socket: TLSSocket | undefined;
  /** The socket has more than it can write at once. */
  #full = false;
  #finishing = false;
  /** Since the last look something came, or moved. */
  #alive = false;
  /** At the last look a question was waiting for its answer. */
  #waiting = false;
  #missed = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#sender = new ReplicaSender(options.take);
    this.#run = this.#stream().then(
      () => this.#end(new Error('it closed the connection')),
      (error: unknown) => this.#end(error),
    );
  }

  /** undefined: not open. */
  get socket(): TLSSocket | undefined {
    return this.#socket;
  }

  /** Something waits. */
  wake(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    try {
      while (!this.#full && socket.writable) {
        const bytes = this.#sender.next();
        if (bytes === undefined) break;
        this.#full = !socket.write(bytes);
      }
    } catch (error) {
      this.#close(error);
    }
    if (this.#finishing && socket.writable && !this.#full && !this.#sender.full) socket.end();
  }

  /** Sends what waits, then ends the stream. For ever, if the other end does not read: destroy() ends that. */
  finish(): Promise<void> {
    this.#finishing = true;
    if (this.#socket === undefined) this.destroy();
    this.wake();
    return this.#run;
  }

  destroy(): void {
    this.#finishing = true;
    this.#close(new Error('given up'));
  }

  /** From outside, for a reason. */
  fail(error: Error): void {
    this.#close(error);
  }

  /** Until the connection is over; fails with why. */
  async #stream(): Promise<void> {
    const { target, tls, timeoutMs, pingMs, opened } = this.#options;
    const { signal } = this.#over;
    const { socket, closed } = await dialMesh<Open>(target, REPLICA_PROTOCOL, { tls, timeoutMs, signal }, (dialled) =>
      this.#begin(dialled),
    );
    this.#socket = socket;
    signal.throwIfAborted();
    const look = setInterval(() => this.#look(), pingMs);
    look.unref();
    try {
      opened();
      this.wake();
      await closed;
    } finally {
      clearInterval(look);
    }
  }

  #begin({ socket, stands }: Dialled<Open>): void {
    const closed = new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('close', () => resolve());
    });
    // While it is dialled, that is said by failing.
    closed.catch(() => {});
    socket.on('data', (bytes) => {
      const fault = this.#sender.heard(bytes);
      if (fault !== undefined) {
        socket.destroy(new Error(fault));
        return;
      }
      this.#alive = true;
      if (this.#socket !== undefined) this.wake();
      else if (this.#sender.taken) stands({ socket, closed });
    });
    socket.on('drain', () => {
      this.#full = false;
      // The question waits behind a message that takes long to go out. Of others it says nothing that the kernel has
      // taken them: it does so for a while when nobody is there.
      if (this.#sender.midway) this.#alive = true;
      this.wake();
    });
  }

  /** In times, not in ms, so that a machine that was stopped finds nothing wrong when it goes on. */
  #look(): void {
    this.#missed = this.#waiting && !this.#alive ? this.#missed + 1 : 0;
    this.#alive = false;
    this.#waiting = true;
    if (this.#missed >= MISSED_MAX) {
      this.#close(new Error('it does not answer any more'));
    } else if (!this.#sender.asks) {
      this.#sender.ask();
      this.wake();
    }
  }

  #close(reason: unknown): void {
    this.#over.abort(reason);
    this.#socket?.destroy();
  }

  #end(error: unknown): void {
    const reason: unknown = this.#over.signal.aborted ? this.#over.signal.reason : error;
    const finishing = this.#finishing;
    this.#close(new Error('ended'));
    if (!finishing) this.#options.ended(reason);
  }
}
