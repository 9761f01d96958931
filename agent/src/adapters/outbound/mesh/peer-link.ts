// SPDX-License-Identifier: Apache-2.0
/**
 * One stream to one node, from dialling to its end:
 *
 *   dialling --its SETTINGS have come--> open --any end--> ended, once
 *
 * Nothing is queued here. What waits is taken only when the stream can take more, as many at once as make one write of
 * BATCH_BYTES: on an idle link each message leaves in the turn in which it was written, and under load most of the cost
 * of a write is shared.
 */
import { createClient } from '@connectrpc/connect';
import { PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import type { Addressed } from '../../../domain/replication/contract.js';
import { encodeMessage } from '../../../domain/replication/message-codec.js';
import { type DialOptions, type MeshSession, type MeshTarget, openMeshSession, watchSession } from './mesh-session.js';

export interface LinkOptions extends Omit<DialOptions, 'signal'> {
  readonly target: MeshTarget;
  readonly pingMs: number;
  readonly take: () => Addressed | undefined;
  readonly opened: () => void;
  /** Not after destroy() or finish(). */
  readonly ended: (error: unknown) => void;
}

const BATCH_BYTES = 64 * 1024;
/** Of an answer that has nothing in it. */
const ANSWER_BYTES = 1024;

export class PeerLink {
  readonly #options: LinkOptions;
  readonly #over = new AbortController();
  #session: MeshSession | undefined;
  #more: (() => void) | undefined;
  #finishing = false;
  readonly #run: Promise<void>;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#run = this.#stream().then(
      () => this.#end(new Error('it ended the stream')),
      (error: unknown) => this.#end(error),
    );
  }

  /** undefined: not open. */
  get session(): MeshSession | undefined {
    return this.#session;
  }

  /** Something waits. */
  wake(): void {
    const more = this.#more;
    this.#more = undefined;
    more?.();
  }

  /** Sends what waits, then ends the stream. For ever, if the other end does not read: destroy() ends that. */
  finish(): Promise<void> {
    this.#finishing = true;
    if (this.#session === undefined) this.destroy();
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

  async #stream(): Promise<void> {
    const { target, tls, timeoutMs, pingMs, opened } = this.#options;
    const session = await openMeshSession(target, { tls, timeoutMs, signal: this.#over.signal });
    this.#session = session;
    session.http2.once('close', () => this.#close(new Error('it closed the connection')));
    watchSession(session, pingMs, () => this.#close(new Error('it does not answer any more')));
    opened();
    const peer = createClient(PeerService, session.transport(ANSWER_BYTES));
    await peer.replicate(this.#requests(), { signal: this.#over.signal });
  }

  async *#requests(): AsyncGenerator<{ messages: Uint8Array[] }> {
    while (!this.#over.signal.aborted) {
      const messages = this.#batch();
      if (messages.length > 0) {
        yield { messages };
      } else if (this.#finishing) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#more = resolve;
        });
      }
    }
  }

  #batch(): Uint8Array[] {
    const messages: Uint8Array[] = [];
    for (let bytes = 0; bytes < BATCH_BYTES; ) {
      const message = this.#options.take();
      if (message === undefined) break;
      const encoded = encodeMessage(message);
      messages.push(encoded);
      bytes += encoded.length;
    }
    return messages;
  }

  #close(reason: Error): void {
    this.#over.abort(reason);
    this.#session?.http2.destroy();
    this.#session?.socket.destroy();
    this.wake();
  }

  #end(error: unknown): void {
    const reason: unknown = this.#over.signal.aborted ? this.#over.signal.reason : error;
    const finishing = this.#finishing;
    this.#close(new Error('ended'));
    if (!finishing) this.#options.ended(reason);
  }
}
