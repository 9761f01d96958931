// SPDX-License-Identifier: Apache-2.0
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { clearTimeout, setTimeout } from 'node:timers';
import type { Address, StreamMessage } from '../wire/message.js';
import type { Refusal } from '../wire/refusal.js';
import { StreamDecoder } from '../wire/stream-decoder.js';
import { encodeStream, type StreamSettings } from '../wire/stream-writer.js';
import type { StreamLimits } from './options.js';
import { plainHost } from './udp-port.js';

export interface StreamPortOptions {
  readonly bind: Address;
  readonly wire: Omit<StreamSettings, 'dialled'>;
  readonly limits: StreamLimits;
  /** From opening to the end, for streams that others open. */
  readonly timeoutMs: number;
  readonly allowed: (host: string) => boolean;
  /** Answer with reply or close, later or at once. */
  readonly requested: (stream: number, from: Address, request: StreamMessage) => void;
  readonly refused: (from: Address, refusal: Refusal | 'too-many' | 'not-allowed') => void;
}

/** A stream that others have opened, until its message is whole. */
interface Unread {
  readonly host: string;
  /** Bytes of it that are kept. */
  held: number;
  readonly refuse: (refusal: Refusal | 'too-many') => void;
}

/**
 * Streams of one message each way, bounded in number, bytes and time whoever opens them. Where there are too many the
 * oldest goes of which the message has not come, and where they hold too much the one that holds most: who opens many and
 * says nothing, or announces much and sends it slowly, keeps nobody out.
 */
export class StreamPort {
  readonly #options: StreamPortOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #answering = new Map<number, Socket>();
  readonly #perHost = new Map<string, number>();
  /** Oldest first. */
  readonly #unread = new Set<Unread>();
  #incoming = 0;
  #buffered = 0;
  #stream = 0;

  private constructor(options: StreamPortOptions) {
    this.#options = options;
    // A requester may close its half once the request is out, and still read the answer.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Rejects when the address is taken, or not this machine's. */
  static open(options: StreamPortOptions): Promise<StreamPort> {
    const { promise, resolve, reject } = Promise.withResolvers<StreamPort>();
    const port = new StreamPort(options);
    port.#server.once('error', reject);
    port.#server.listen({ host: options.bind.host, port: options.bind.port, exclusive: true }, () => {
      port.#server.off('error', reject);
      // Of accepting: out of descriptors, for one. The next may work.
      port.#server.on('error', () => {});
      resolve(port);
    });
    return promise;
  }

  get address(): Address {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: plainHost(address), port };
  }

  /** Streams that others have open here. */
  get incoming(): number {
    return this.#incoming;
  }

  /** Ends with the reply, with undefined when none is expected and the request is out, or with the reason why not. */
  request(
    to: Address,
    request: StreamMessage,
    expectReply: boolean,
    timeoutMs: number,
    done: (outcome: StreamMessage | undefined | string) => void,
  ): void {
    let bytes: Uint8Array;
    try {
      bytes = encodeStream(request, { ...this.#options.wire, dialled: true });
    } catch (error) {
      done(error instanceof Error ? error.message : String(error));
      return;
    }
    if (to.port === 0) {
      done('port 0 cannot be reached');
      return;
    }
    const socket = connect({ host: to.host, port: to.port, noDelay: true });
    let ended = false;
    const end = (outcome: StreamMessage | undefined | string): void => {
      if (ended) return;
      ended = true;
      if (typeof outcome === 'string') socket.destroy();
      else socket.end();
      done(outcome);
    };
    this.#guard(socket, timeoutMs, end);
    socket.write(bytes, () => {
      if (!expectReply) end(undefined);
    });
    if (!expectReply) {
      socket.resume();
      return;
    }
    this.#read(
      socket,
      false,
      undefined,
      (message) => end(message),
      (refusal) => end(`its answer: ${refusal.detail}`),
    );
  }

  /** Of a stream that has ended in the meantime: nothing happens. */
  reply(stream: number, message: StreamMessage): void {
    const socket = this.#answering.get(stream);
    if (!socket) return;
    this.#answering.delete(stream);
    try {
      socket.end(encodeStream(message, { ...this.#options.wire, dialled: false }));
    } catch {
      socket.destroy();
    }
  }

  close(stream: number): void {
    this.#answering.get(stream)?.destroy();
    this.#answering.delete(stream);
  }

  async shutdown(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const host = plainHost(socket.remoteAddress ?? '');
    const from = { host, port: socket.remotePort ?? 0 };
    const ofHost = this.#perHost.get(host) ?? 0;
    const { limits, allowed, refused, timeoutMs } = this.#options;
    if (!allowed(host)) {
      socket.destroy();
      refused(from, 'not-allowed');
      return;
    }
    const room =
      (ofHost < limits.connectionsPerHost || this.#evict((unread) => unread.host === host)) &&
      (this.#incoming < limits.connections || this.#evict(() => true));
    if (!room) {
      socket.destroy();
      refused(from, 'too-many');
      return;
    }
    this.#incoming++;
    this.#perHost.set(host, (this.#perHost.get(host) ?? 0) + 1);
    const stream = ++this.#stream;
    let counted = true;
    const leave = (): void => {
      if (!counted) return;
      counted = false;
      this.#unread.delete(unread);
      this.#incoming--;
      const left = (this.#perHost.get(host) ?? 1) - 1;
      if (left > 0) this.#perHost.set(host, left);
      else this.#perHost.delete(host);
    };
    const unread: Unread = {
      host,
      held: 0,
      refuse: (refusal) => {
        // At once, since another takes its place.
        leave();
        socket.destroy();
        refused(from, refusal);
      },
    };
    this.#unread.add(unread);
    socket.once('close', () => {
      leave();
      this.#answering.delete(stream);
    });
    this.#guard(socket, timeoutMs, () => {});
    this.#read(
      socket,
      true,
      unread,
      (message) => {
        this.#unread.delete(unread);
        this.#answering.set(stream, socket);
        this.#options.requested(stream, from, message);
      },
      (refusal) => {
        this.#unread.delete(unread);
        refused(from, refusal);
        // memberlist's own way to say why.
        if (refusal.reason === 'empty') socket.destroy();
        else {
          this.#answering.set(stream, socket);
          this.reply(stream, { type: 'error', message: refusal.detail });
        }
      },
    );
  }

  /** The oldest such stream makes room; false: there is none. */
  #evict(which: (unread: Unread) => boolean): boolean {
    for (const unread of this.#unread) {
      if (!which(unread)) continue;
      unread.refuse('too-many');
      return true;
    }
    return false;
  }

  /** Streams that hold most make room for so many bytes, but for this one; false: it holds most itself, or more than all. */
  #makeRoom(bytes: number, own: Unread | undefined): boolean {
    const { bufferedBytes } = this.#options.limits;
    while (this.#buffered + bytes > bufferedBytes) {
      let most: Unread | undefined;
      for (const unread of this.#unread) if (unread.held > (most?.held ?? 0)) most = unread;
      if (most === undefined || most === own || most.held <= (own?.held ?? 0) + bytes) return false;
      this.#buffered -= most.held;
      most.held = 0;
      most.refuse(tooMuch(bufferedBytes));
    }
    return true;
  }

  /** However it goes, the socket is gone after timeoutMs. */
  #guard(socket: Socket, timeoutMs: number, failed: (reason: string) => void): void {
    this.#sockets.add(socket);
    const timer = setTimeout(() => {
      failed('no answer in time');
      socket.destroy();
    }, timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => failed(error.code ?? error.message));
    socket.once('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
      failed('closed before it was answered');
    });
  }

  /** unread: where it is told how much is held. */
  #read(
    socket: Socket,
    dialled: boolean,
    unread: Unread | undefined,
    whole: (message: StreamMessage) => void,
    refused: (refusal: Refusal) => void,
  ): void {
    const decoder = new StreamDecoder({ ...this.#options.wire, dialled });
    const held = unread ?? { host: '', held: 0, refuse: () => {} };
    let over = false;
    const take = (progress: ReturnType<StreamDecoder['push']>): void => {
      this.#buffered += decoder.buffered - held.held;
      held.held = decoder.buffered;
      if (over || progress.status === 'more') return;
      over = true;
      if (progress.status === 'message') whole(progress.message);
      else refused(progress.refusal);
    };
    socket.on('data', (chunk: Uint8Array) => {
      if (over || socket.destroyed) return;
      if (!this.#makeRoom(chunk.length, unread)) {
        over = true;
        refused(tooMuch(this.#options.limits.bufferedBytes));
        return;
      }
      take(decoder.push(chunk));
    });
    socket.once('end', () => take(decoder.end()));
    socket.once('close', () => {
      this.#buffered -= held.held;
      held.held = 0;
      over = true;
    });
  }
}

function tooMuch(bufferedBytes: number): Refusal {
  return {
    reason: 'too-large',
    detail: `${bufferedBytes} bytes of streams are held already (streamLimits.bufferedBytes)`,
  };
}
