// SPDX-License-Identifier: Apache-2.0
/**
 * Times of a hybrid logical clock (Kulkarni, Demirbas et al. 2014, "Logical Physical Clocks"): close to physical time,
 * and never against the order of cause and effect. The node makes the order total.
 *
 * Packed, 16 bytes that sort as the times do:
 *
 *   | bytes | what                          |
 *   |-------|-------------------------------|
 *   | 0–5   | Unix time in ms, big-endian   |
 *   | 6–7   | counter, big-endian           |
 *   | 8–15  | node, big-endian              |
 */

/** Ordered by ms, then counter, then node. */
export interface Timestamp {
  /** Unix time, 48 bits. */
  readonly ms: number;
  /** 16 bits. */
  readonly counter: number;
  /** 64 bits. */
  readonly node: bigint;
}

export const MS_MAX = 2 ** 48 - 1;
export const COUNTER_MAX = 0xffff;
export const NODE_MAX = 2n ** 64n - 1n;
export const PACKED_BYTES = 16;

/** Before every time of a clock. */
export const ZERO: Timestamp = { ms: 0, counter: 0, node: 0n };

/** Negative, 0 or positive, as Array.sort takes it. */
export function compare(a: Timestamp, b: Timestamp): number {
  if (a.ms !== b.ms) return a.ms - b.ms;
  if (a.counter !== b.counter) return a.counter - b.counter;
  if (a.node === b.node) return 0;
  return a.node < b.node ? -1 : 1;
}

/** Throws RangeError for what has no place in the 16 bytes. */
export function pack({ ms, counter, node }: Timestamp): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(ms) || ms < 0 || ms > MS_MAX)
    throw new RangeError(`ms of a timestamp: ${ms}, not 0 to ${MS_MAX}`);
  if (!Number.isInteger(counter) || counter < 0 || counter > COUNTER_MAX) {
    throw new RangeError(`counter of a timestamp: ${counter}, not 0 to ${COUNTER_MAX}`);
  }
  if (node < 0n || node > NODE_MAX) throw new RangeError(`node of a timestamp: ${node}, not 0 to ${NODE_MAX}`);
  const bytes = new Uint8Array(PACKED_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(ms / 0x10000));
  view.setUint16(4, ms % 0x10000);
  view.setUint16(6, counter);
  view.setBigUint64(8, node);
  return bytes;
}

/** Any 16 bytes are a time; another length throws RangeError. */
export function unpack(bytes: Uint8Array): Timestamp {
  if (bytes.length !== PACKED_BYTES) throw new RangeError(`a timestamp of ${bytes.length} bytes, not ${PACKED_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, PACKED_BYTES);
  return {
    ms: view.getUint32(0) * 0x10000 + view.getUint16(4),
    counter: view.getUint16(6),
    node: view.getBigUint64(8),
  };
}
