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
