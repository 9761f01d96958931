// SPDX-License-Identifier: Apache-2.0
/**
 * The page's end of the gateway's channel (wire/frames.ts): a fetch() whose answers come down one response. A stream that is
 * not read holds the channel up, and by it the agents: nothing piles up on the way.
 */
import { type Frame, type FrameHead, FrameKind, FrameReader, STREAM_HEADER } from '../../wire/frames.js';

type Fetch = typeof globalThis.fetch;

interface Call {
  readonly answered: (response: Response) => void;
  readonly failed: (reason: Error) => void;
  body: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  /** Resolved when the stream wants more. */
  wanted: (() => void) | undefined;
}

/** Of each stream, before the channel waits for its reader. */
const AHEAD_BYTES = 1 << 20;

export class StreamChannel {
  readonly #fetch: Fetch;
  readonly #base: string;
  readonly #calls = new Map<number, Call>();
  #opened: { readonly name: string; readonly ready: Promise<void>; readonly closed: AbortController } | undefined;
  #last = 0;

  /** base: of the gateway, without a slash at the end. */
  constructor(fetch: Fetch, base: string) {
    this.#fetch = fetch;
    this.#base = base;
  }

  /** As fetch(), for calls whose answer is a stream. */
  readonly fetch: Fetch = async (input, init = {}) => {
    const { signal } = init;
    signal?.throwIfAborted();
    const { name, ready } = this.#open();
    await ready;
    const number = ++this.#last;
    const response = new Promise<Response>((answered, failed) => {
      this.#calls.set(number, { answered, failed, body: undefined, wanted: undefined });
    });
    response.catch(() => undefined);
    signal?.addEventListener('abort', () => this.#giveUp(name, number, signal.reason as Error), { once: true });
    const headers = new Headers(init.headers);
    headers.set(STREAM_HEADER, `${name}/${number}`);
    const begun = await this.#fetch(input, { ...init, headers, signal: null }).catch((error: unknown) => {
      this.#fail(number, error as Error);
      return undefined;
    });
    if (begun !== undefined && begun.status !== 202) {
      this.#calls.delete(number);
      return begun;
    }
    return await response;
  };

  close(): void {
    this.#opened?.closed.abort();
  }

  #open(): { readonly name: string; readonly ready: Promise<void> } {
    if (this.#opened !== undefined) return this.#opened;
    const name = crypto.randomUUID();
    const closed = new AbortController();
    const answer = this.#fetch(`${this.#base}/streams/${name}`, { method: 'POST', signal: closed.signal });
    const ready = answer.then(async (response) => {
      if (!response.ok || response.body === null) {
        throw new Error(`the gateway has refused a channel: ${(await response.text()).trim()}`);
      }
      void this.#read(response.body);
    });
    this.#opened = { name, ready, closed };
    ready.catch(() => {
      this.#opened = undefined;
    });
    return this.#opened;
  }

  async #read(body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    const frames = new FrameReader();
    const reader = body.getReader();
    let why = new Error('the gateway has closed the channel');
    try {
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        for (const frame of frames.read(piece.value)) {
          const waits = this.#take(frame);
          if (waits !== undefined) await waits;
        }
      }
    } catch (error) {
      why = error as Error;
      reader.cancel().catch(() => undefined);
    }
    this.#opened = undefined;
    for (const number of [...this.#calls.keys()]) this.#fail(number, why);
  }

  /** What has to come before the next frame is taken. */
  #take({ kind, call: number, payload }: Frame): Promise<void> | undefined {
    const call = this.#calls.get(number);
    if (call === undefined) return undefined;
    switch (kind) {
      case FrameKind.HEAD:
        this.#answer(number, call, JSON.parse(new TextDecoder().decode(payload)) as FrameHead);
        return undefined;
      case FrameKind.DATA:
        return this.#give(call, payload);
      case FrameKind.END:
        this.#calls.delete(number);
        call.body?.close();
        return undefined;
      case FrameKind.BROKEN:
        this.#fail(number, new Error(new TextDecoder().decode(payload)));
        return undefined;
    }
  }

  #answer(number: number, call: Call, { status, headers }: FrameHead): void {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => {
          call.body = controller;
        },
        pull: () => call.wanted?.(),
        cancel: () => this.#cancel(number),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: AHEAD_BYTES }),
    );
    call.answered(
      new Response(body, { status, headers: headers.map(([name, value]): [string, string] => [name, value]) }),
    );
  }

  #give(call: Call, payload: Uint8Array<ArrayBuffer>): Promise<void> | undefined {
    const { body } = call;
    if (body === undefined) return undefined;
    body.enqueue(payload);
    if ((body.desiredSize ?? 1) > 0) return undefined;
    return new Promise((resolve) => {
      call.wanted = () => {
        call.wanted = undefined;
        resolve();
      };
    });
  }

  #fail(number: number, reason: Error): void {
    const call = this.#calls.get(number);
    if (call === undefined) return;
    this.#calls.delete(number);
    call.wanted?.();
    call.failed(reason);
    call.body?.error(reason);
  }

  #giveUp(name: string, number: number, reason: Error): void {
    if (!this.#calls.has(number)) return;
    this.#fail(number, reason);
    this.#tellCancelled(name, number);
  }

  #cancel(number: number): void {
    const call = this.#calls.get(number);
    if (call === undefined) return;
    this.#calls.delete(number);
    call.wanted?.();
    const name = this.#opened?.name;
    if (name !== undefined) this.#tellCancelled(name, number);
  }

  #tellCancelled(name: string, number: number): void {
    // A gateway that is gone has nothing to cancel.
    this.#fetch(`${this.#base}/streams/${name}/${number}/cancel`, { method: 'POST' }).catch(() => undefined);
  }
}
