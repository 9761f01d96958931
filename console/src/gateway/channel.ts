// SPDX-License-Identifier: Apache-2.0
/**
 * The streams of a page, on one response (wire/frames.ts). When the page does not read, all of them wait at their agents, which
 * say less then, and the newest.
 */
import type { ServerResponse } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import { giveUp } from '../entry/agent-door.js';
import { type FrameHead, FrameKind, frameHead, PAYLOAD_MAX } from '../wire/frames.js';

/** A node's stream each, and logs of some. */
const CALLS_MAX = 2_048;

export class Channel {
  readonly #response: ServerResponse;
  readonly #calls = new Map<number, ClientHttp2Stream | undefined>();
  #isClosed = false;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.on('drain', () => {
      for (const stream of this.#calls.values()) stream?.resume();
    });
    response.on('close', () => {
      this.#isClosed = true;
      for (const stream of this.#calls.values()) giveUp(stream);
      this.#calls.clear();
    });
  }

  /** False: the number is taken, or there are too many. */
  begin(call: number): boolean {
    if (this.#isClosed || this.#calls.has(call) || this.#calls.size >= CALLS_MAX) return false;
    this.#calls.set(call, undefined);
    return true;
  }

  /** The stream of a call that has begun; one that was cancelled meanwhile ends here. */
  attach(call: number, stream: ClientHttp2Stream): void {
    if (!this.#calls.has(call)) {
      giveUp(stream);
      return;
    }
    this.#calls.set(call, stream);
  }

  head(call: number, head: FrameHead): void {
    this.#write(FrameKind.HEAD, call, Buffer.from(JSON.stringify(head)));
  }

  /** The body, until it ends or breaks. */
  pour(call: number, stream: ClientHttp2Stream): void {
    stream.on('data', (chunk: Buffer) => {
      let more = true;
      for (let at = 0; at < chunk.length; at += PAYLOAD_MAX) {
        more = this.#write(FrameKind.DATA, call, chunk.subarray(at, at + PAYLOAD_MAX));
      }
      if (!more) for (const each of this.#calls.values()) each?.pause();
    });
    stream.once('end', () => this.#finish(FrameKind.END, call, ''));
    stream.once('error', (error) => this.#finish(FrameKind.BROKEN, call, error.message));
    stream.once('close', () => this.#finish(FrameKind.BROKEN, call, 'the agent has ended the call'));
  }

  /** Instead of a body. */
  break(call: number, reason: string): void {
    this.#finish(FrameKind.BROKEN, call, reason);
  }

  end(call: number): void {
    this.#finish(FrameKind.END, call, '');
  }

  cancel(call: number): void {
    const stream = this.#calls.get(call);
    this.#calls.delete(call);
    giveUp(stream);
  }

  #finish(kind: FrameKind, call: number, reason: string): void {
    if (!this.#calls.delete(call)) return;
    this.#write(kind, call, Buffer.from(reason));
  }

  /** Whether more is wanted now. */
  #write(kind: FrameKind, call: number, payload: Buffer): boolean {
    if (this.#isClosed) return true;
    this.#response.write(frameHead(kind, call, payload.length));
    return this.#response.write(payload);
  }
}
