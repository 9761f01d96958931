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
import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
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
  /** Writes now what is outstanding, as the store has it when this is called. */
  flush(): Promise<void>;
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

async function replaceFile(path: string, body: Uint8Array): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writev([createHash('sha256').update(body).digest(), body]);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

export function createLastGoodCopy(
  stateDir: string,
  store: ConfigStore,
  options: { delayMs?: number; retryMs?: number; onWritten?: () => void; onFailure: (error: unknown) => void },
): LastGoodCopy {
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  let drainsWritten: Buffer | undefined;
  const write = (): void => {
    timer = undefined;
    // One at a time, as they have one name. The disk is waited for elsewhere: other work goes on meanwhile.
    writing = writing.then(async () => {
      try {
        const drains = packDrains(store);
        const configuration = Buffer.concat(pack(store));
        if (drainsWritten === undefined || !drains.equals(drainsWritten)) {
          await replaceFile(join(stateDir, DRAINS_NAME), drains);
          drainsWritten = drains;
        }
        await replaceFile(join(stateDir, NAME), configuration);
        options.onWritten?.();
      } catch (error) {
        options.onFailure(error);
        schedule(options.retryMs ?? RETRY_MS);
      }
    });
  };
  const schedule = (delayMs: number): void => {
    timer ??= setTimeout(write, delayMs);
    timer.unref();
  };
  return {
    schedule: () => schedule(options.delayMs ?? 2_000),
    async flush() {
      if (timer !== undefined) {
        clearTimeout(timer);
        write();
      }
      await writing;
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
