// SPDX-License-Identifier: Apache-2.0
/** Says on a terminal what takes a while, and takes it away afterwards. Elsewhere nothing is said. */
export async function noticed<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return await work();
  process.stderr.write(`\r\u001b[K${what} ...`);
  try {
    return await work();
  } finally {
    process.stderr.write('\r\u001b[K');
  }
}
