// SPDX-License-Identifier: Apache-2.0
/**
 * A stream that goes through an SSH connection, as HTTP/2 needs one. ssh2's channels forget the error that they are
 * destroyed with, and a write after their end is never answered.
 */
import { Duplex } from 'node:stream';
import type { ClientChannel } from 'ssh2';
import type { Link } from './link.js';

export class ForwardedStream extends Duplex {
  private readonly channel: ClientChannel;
  private readonly forget: () => void;

  constructor(channel: ClientChannel, link: Link) {
    super({ allowHalfOpen: true });
    this.channel = channel;
    channel.on('data', (chunk: Buffer) => {
      link.acknowledge();
      if (!this.push(chunk)) channel.pause();
    });
    channel.on('end', () => this.push(null));
    // The other end has closed it; what has come before is still to be read.
    channel.on('close', () =>
      this.readableEnded || this.destroyed ? this.destroy() : this.once('end', () => this.destroy()),
    );
    channel.on('error', (error: Error) => this.destroy(error));
    this.forget = link.onClose((reason) => this.destroy(lost(reason)));
  }

  override _read(): void {
    this.channel.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.channel.write(chunk, encoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.channel.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.forget();
    this.channel.destroy();
    // What comes until the other end has closed it, too.
    this.channel.resume();
    done(error);
  }
}

/** Known as a connection that broke, whoever hears of it. */
function lost(reason: Error): Error {
  return Object.assign(new Error(reason.message, { cause: reason }), { code: 'ECONNRESET' });
}
