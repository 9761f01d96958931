// SPDX-License-Identifier: Apache-2.0
/**
 * A second copy of the configuration beside the database, in a file of its own: what is served again when the database
 * turns out to be damaged. A marcher.v1.Configuration, preceded by its SHA-256; replaced atomically, some time after
 * each change (a burst of changes is written once).
 *
 * Beside it stands what is drained, as JSON after its SHA-256: what an operator has taken out of service must not come
 * back because of a bad disk. It is a file of its own so that either can be read without the other.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Kind } from '@marcher/model';
import type { ConfigStore } from '../../../ports/config-store.js';

const NAME = 'last-good.binpb';
const DRAINS_NAME = 'last-good.drains';
const DIGEST_BYTES = 32;
const RETRY_MS = 30_000;
/** Tags of the fields of Configuration (field << 3 | length-delimited). */
const TAG = { Service: 0x0a, Guard: 0x12, TrafficPolicy: 0x1a } as const;

/** Both empty: the node. */
export interface Drain {
  readonly service: string;
  readonly backend: string;
}

export interface LastGoodCopy {
  /** The configuration has changed, or what is drained. */
  schedule(): void;
  /** Writes now what is outstanding. */
  flush(): void;
}

function pack(store: ConfigStore): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const add = (kind: Kind, body: Uint8Array): void => {
    const head: number[] = [TAG[kind]];
    let rest = body.length;
    while (rest > 0x7f) {
      head.push((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    head.push(rest);
    chunks.push(Uint8Array.from(head), body);
  };
  for (const { body } of store.scan()) add('Service', body);
  for (const { kind, body } of store.objects()) add(kind, body);
  return chunks;
}

function packDrains(store: ConfigStore): Buffer {
  const drains: Drain[] = store.nodeDraining() ? [{ service: '', backend: '' }] : [];
  return Buffer.from(JSON.stringify([...drains, ...store.drainedBackends()]), 'utf8');
}

function replaceFile(path: string, body: Uint8Array): void {
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, createHash('sha256').update(body).digest());
    for (let at = 0; at < body.length; ) at += writeSync(file, body, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
}

export function createLastGoodCopy(
  stateDir: string,
  store: ConfigStore,
  options: { delayMs?: number; retryMs?: number; onWritten?: () => void; onFailure: (error: unknown) => void },
): LastGoodCopy {
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    try {
      replaceFile(join(stateDir, DRAINS_NAME), packDrains(store));
      replaceFile(join(stateDir, NAME), Buffer.concat(pack(store)));
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
  return readChecked(join(stateDir, NAME));
}

/** What was drained, or undefined when there is no copy of that or it is damaged. */
export function readLastGoodDrains(stateDir: string): Drain[] | undefined {
  const body = readChecked(join(stateDir, DRAINS_NAME));
  return body && (JSON.parse(Buffer.from(body).toString('utf8')) as Drain[]);
}

function readChecked(path: string): Uint8Array | undefined {
  try {
    const bytes = readFileSync(path);
    const body = bytes.subarray(DIGEST_BYTES);
    const sum = createHash('sha256').update(body).digest();
    return sum.equals(bytes.subarray(0, DIGEST_BYTES)) ? body : undefined;
  } catch {
    return undefined;
  }
}
