// SPDX-License-Identifier: Apache-2.0
/**
 * Answers of many calls on one HTTP response. Over HTTP/1.1 a browser has six connections to a host, and each stream of a node
 * would keep one for itself; so the gateway sends all streams of a page down one response, in frames:
 *
 *   kind u8 | call u32 | length u32 | payload       big-endian
 *
 *   HEAD   JSON {"status": 200, "headers": [["content-type", "…"], …]}
 *   DATA   bytes of the body, as they came
 *   END    nothing
 *   BROKEN UTF-8: why the body ends here
 */
export const FrameKind = { HEAD: 0, DATA: 1, END: 2, BROKEN: 3 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

export interface Frame {
  readonly kind: FrameKind;
  readonly call: number;
  /** Shares what was read, which nobody else keeps. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

export interface FrameHead {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
}

/** On a call: "CHANNEL/CALL", which answers 202 and goes on in the channel. */
export const STREAM_HEADER = 'marcher-stream';
export const HEAD_BYTES = 9;
/** Larger than what HTTP/2 hands over at a time. */
export const PAYLOAD_MAX = 1 << 20;

export function frameHead(kind: FrameKind, call: number, length: number): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(HEAD_BYTES);
  const view = new DataView(head.buffer);
  view.setUint8(0, kind);
  view.setUint32(1, call);
  view.setUint32(5, length);
  return head;
}

/** Puts frames together again from pieces of any size. Keeps less than one frame. */
export class FrameReader {
  #kept: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  /** Throws RangeError where a frame is larger than PAYLOAD_MAX or of no known kind: then nothing after it can be read. */
  *read(piece: Uint8Array<ArrayBuffer>): Generator<Frame> {
    let bytes = this.#kept.length === 0 ? piece : joined(this.#kept, piece);
    while (bytes.length >= HEAD_BYTES) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, HEAD_BYTES);
      const [kind, call, length] = [view.getUint8(0), view.getUint32(1), view.getUint32(5)];
      if (length > PAYLOAD_MAX)
        throw new RangeError(`a frame has ${length} bytes, and at most ${PAYLOAD_MAX} are taken`);
      if (kind > FrameKind.BROKEN) throw new RangeError(`there is no frame of kind ${kind}`);
      if (bytes.length < HEAD_BYTES + length) break;
      const payload = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
      bytes = bytes.subarray(HEAD_BYTES + length);
      yield { kind: kind as FrameKind, call, payload };
    }
    this.#kept = bytes;
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
