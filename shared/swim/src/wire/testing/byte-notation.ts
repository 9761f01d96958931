// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes as tests of the wire write them: pairs of hexadecimal digits, and ASCII in double quotes; white space means
 * nothing. bytes('82 a4"Node" a1"b"') is a msgpack map and its first field.
 */
export function bytes(...lines: readonly string[]): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  for (const [, text, hex, other] of lines.join(' ').matchAll(/"([^"]*)"|([0-9a-f]{2})|(\S)/g)) {
    if (other !== undefined) throw new Error(`"${other}" is neither a pair of hexadecimal digits nor in quotes`);
    if (text !== undefined) out.push(...Buffer.from(text, 'latin1'));
    else out.push(Number.parseInt(hex ?? '', 16));
  }
  return Uint8Array.from(out);
}

/** 00 01 02 ...: keys and nonces that one can write down. */
export function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i);
}

/** LZW data of these codes, which may be such as no compressor writes; but for the clear code at the start, which is added. */
export function lzwOf(codes: readonly number[]): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  let bits = 0;
  let pending = 0;
  let next = 257;
  for (const code of [256, ...codes]) {
    // As wide as the largest code that may come.
    const width = Math.max(9, 32 - Math.clz32(Math.min(next, 4_095)));
    bits |= code << pending;
    pending += width;
    for (; pending >= 8; pending -= 8) {
      out.push(bits & 255);
      bits >>>= 8;
    }
    if (code !== 256) next++;
  }
  if (pending > 0) out.push(bits & 255);
  return Uint8Array.from(out);
}

/** Codes of zeros, each a byte more than the one before, until there are no more codes. */
export function zeros(): number[] {
  return [0, ...Array.from({ length: 4_095 - 257 }, (_, i) => 258 + i)];
}
