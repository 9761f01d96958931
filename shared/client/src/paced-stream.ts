// SPDX-License-Identifier: Apache-2.0
/**
 * What node:http2 needs of a stream that is no socket: that what follows an answer's headers comes in a later turn of the event
 * loop. Given the end of an answer in the same turn, it has the stream marked as closed before anybody has begun to read it,
 * and reading ends with ERR_STREAM_PREMATURE_CLOSE (Node 24: end-of-stream takes Http2Stream.closed, which means the protocol's
 * stream, for the end of what can be read).
 */
import { Duplex } from 'node:stream';

/** RFC 9113, 4.1: length (3 bytes), type, flags, stream (4 bytes). */
const HEADER_BYTES = 9;
const HEADERS = 0x1;
const CONTINUATION = 0x9;
const END_HEADERS = 0x4;

export class PacedStream extends Duplex {
  private readonly source: Duplex;
  private readonly frames = new FrameCuts();
  private readonly waiting: { readonly bytes: Buffer; readonly endsHeaders: boolean }[] = [];
  private turn: NodeJS.Immediate | undefined;
  private hasEnded = false;

  constructor(source: Duplex) {
    super();
    this.source = source;
    source.on('data', (chunk: Buffer) => {
      this.waiting.push(...this.frames.cut(chunk));
      this.give();
    });
    source.on('end', () => {
      this.hasEnded = true;
      this.give();
    });
    source.on('error', (error) => this.destroy(error));
    source.on('close', () => {
      if (!this.hasEnded) this.destroy();
    });
  }

  override _read(): void {
    if (this.waiting.length === 0) this.source.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.source.write(chunk, encoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.source.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearImmediate(this.turn);
    this.source.destroy();
    done(error);
  }

  private give(): void {
    if (this.turn !== undefined) return;
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      const wantsMore = this.push(next.bytes);
      if (next.endsHeaders) {
        this.source.pause();
        this.turn = setImmediate(() => {
          this.turn = undefined;
          this.source.resume();
          this.give();
        });
        return;
      }
      if (!wantsMore) this.source.pause();
    }
    if (this.hasEnded) this.push(null);
  }
}

/** Finds where blocks of headers end. */
class FrameCuts {
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerLength = 0;
  private payloadLeft = 0;

  cut(chunk: Buffer): { bytes: Buffer; endsHeaders: boolean }[] {
    const pieces: { bytes: Buffer; endsHeaders: boolean }[] = [];
    let start = 0;
    for (let at = 0; at < chunk.length; ) {
      if (this.headerLength < HEADER_BYTES) {
        const copied = chunk.copy(this.header, this.headerLength, at);
        this.headerLength += copied;
        at += copied;
        if (this.headerLength < HEADER_BYTES) break;
        this.payloadLeft = this.header.readUIntBE(0, 3);
      }
      const taken = Math.min(this.payloadLeft, chunk.length - at);
      this.payloadLeft -= taken;
      at += taken;
      if (this.payloadLeft > 0) break;
      this.headerLength = 0;
      if (!this.endsHeaders()) continue;
      pieces.push({ bytes: chunk.subarray(start, at), endsHeaders: true });
      start = at;
    }
    if (start < chunk.length) pieces.push({ bytes: chunk.subarray(start), endsHeaders: false });
    return pieces;
  }

  private endsHeaders(): boolean {
    const type = this.header[3];
    return (type === HEADERS || type === CONTINUATION) && ((this.header[4] ?? 0) & END_HEADERS) !== 0;
  }
}
