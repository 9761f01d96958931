// SPDX-License-Identifier: Apache-2.0
/**
 * A second copy of the configuration beside the database, in a file of its own: what is served again when the database
 * turns out to be damaged. A marcher.v1.Configuration, preceded by its SHA-256; replaced atomically, some time after
 * each change (a burst of changes is written once).
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ConfigStore } from '../../../ports/config-store.js';

const NAME = 'last-good.binpb';
const DIGEST_BYTES = 32;
const RETRY_MS = 30_000;
/** Tag of Configuration.services: field 1, length-delimited. */
const SERVICES_TAG = 0x0a;

export interface LastGoodCopy {
  /** The configuration has changed. */
  schedule(): void;
  /** Writes now what is outstanding. */
  flush(): void;
}

function pack(store: ConfigStore): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (const { body } of store.scan()) {
    const head = [SERVICES_TAG];
    let rest = body.length;
    while (rest > 0x7f) {
      head.push((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    head.push(rest);
    chunks.push(Uint8Array.from(head), body);
  }
  return chunks;
}

export function createLastGoodCopy(
  stateDir: string,
  store: ConfigStore,
  options: { delayMs?: number; retryMs?: number; onWritten?: () => void; onFailure: (error: unknown) => void },
): LastGoodCopy {
  const path = join(stateDir, NAME);
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    try {
      const body = Buffer.concat(pack(store));
      const file = openSync(`${path}.new`, 'w', 0o600);
      try {
        writeSync(file, createHash('sha256').update(body).digest());
        for (let at = 0; at < body.length; ) at += writeSync(file, body, at);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(`${path}.new`, path);
      options.onWritten?.();
    } catch (error) {
      options.onFailure(error);
      schedule(options.retryMs ?? RETRY_MS);
    }
  };
  const schedule = (delayMs: number): void => {
    timer ??= setTimeout(write, delayMs);
    timer.unref();
  };
  return {
    schedule: () => schedule(options.delayMs ?? 2_000),
    flush() {
      if (timer === undefined) return;
      clearTimeout(timer);
      write();
    },
  };
}

/** The packed Configuration, or undefined when there is none or it is damaged. */
export function readLastGoodCopy(stateDir: string): Uint8Array | undefined {
  try {
    const bytes = readFileSync(join(stateDir, NAME));
    const body = bytes.subarray(DIGEST_BYTES);
    const sum = createHash('sha256').update(body).digest();
    return sum.equals(bytes.subarray(0, DIGEST_BYTES)) ? body : undefined;
  } catch {
    return undefined;
  }
}
