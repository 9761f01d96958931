// SPDX-License-Identifier: Apache-2.0
/** Installations to be sent, as scripts/archive makes them: marcher-VERSION-linux-ARCH.tar.gz, one for each architecture. */
import { createHash } from 'node:crypto';
import { createReadStream, type ReadStream, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export interface Archive {
  readonly path: string;
  readonly version: string;
  /** As uname -m says it. */
  readonly architecture: string;
  readonly bytes: number;
}

/** What the programs in them are linked with: Debian 12's. */
export const ARCHIVE_GLIBC = '2.36';
/** Unpacked, in proportion to the archive: with room for itself while that is done. */
const UNPACKED_SHARE = 5;
const NAME = /^marcher-(\d+\.\d+\.\d+(?:-[\w.]+)?)-linux-(\w+)\.tar\.gz$/;

/** Those in these directories; of each architecture the one that was made last. What can't be read has none. */
export function archivesIn(directories: readonly string[]): readonly Archive[] {
  const found = new Map<string, Archive & { readonly madeMs: number }>();
  for (const directory of directories) {
    for (const name of namesIn(directory)) {
      const [, version, architecture] = NAME.exec(name) ?? [];
      if (version === undefined || architecture === undefined) continue;
      const path = join(directory, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat?.isFile() || stat.mtimeMs <= (found.get(architecture)?.madeMs ?? -1)) continue;
      found.set(architecture, { path, version, architecture, bytes: stat.size, madeMs: stat.mtimeMs });
    }
  }
  return [...found.values()].map(({ madeMs: _made, ...archive }) => archive);
}

export function diskMiBFor({ bytes }: Archive): number {
  return Math.ceil((bytes * UNPACKED_SHARE) / 2 ** 20);
}

/** sent: told of how many bytes have gone by. */
export function contentOf({ path }: Archive, sent: (bytes: number) => void): ReadStream {
  const stream = createReadStream(path, { highWaterMark: 256 << 10 });
  let bytes = 0;
  stream.on('data', (chunk) => {
    bytes += chunk.length;
    sent(bytes);
  });
  // It flows when it is piped.
  stream.pause();
  return stream;
}

/** 64 hex digits. */
export async function digestOf({ path }: Archive, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash, signal === undefined ? {} : { signal });
  return hash.digest('hex');
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
