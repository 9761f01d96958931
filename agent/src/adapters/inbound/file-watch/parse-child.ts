// SPDX-License-Identifier: Apache-2.0
/** The process that parses large sources: file names as JSON on stdin, the answer (read-source.ts) on stdout. */
import { readFileSync, writeSync } from 'node:fs';
import { writeAnswer } from './read-source.js';

const files = JSON.parse(readFileSync(0, 'utf8')) as string[];
let held: Buffer[] = [];
let bytes = 0;

function flush(): void {
  const all = Buffer.concat(held);
  for (let at = 0; at < all.length; ) at += writeSync(1, all, at);
  held = [];
  bytes = 0;
}

writeAnswer(files, (chunk) => {
  const buffer = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : Buffer.from(chunk);
  held.push(buffer);
  bytes += buffer.length;
  if (bytes > 65_536) flush();
});
flush();
