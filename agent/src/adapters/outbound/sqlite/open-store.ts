// SPDX-License-Identifier: Apache-2.0
/** Opens the state directory: locked, checked, and recovered when the database is damaged. */
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { ConfigurationSchema, objectsOf } from '@marcher/model';
import { packObject } from '../../../application/object-codec.js';
import { packService } from '../../../application/service-codec.js';
import { ACTION } from '../../../domain/audit/actions.js';
import { type CommitChange, StoreError } from '../../../ports/config-store.js';
import { readLastGoodCopy, readLastGoodDrains } from './last-good-copy.js';
import { SqliteConfigStore } from './sqlite-config-store.js';
import { lockState } from './state-lock.js';
import { storeError } from './store-error.js';

const FILE = 'marcher.db';
const ASIDE = `${FILE}.damaged-`;

export interface OpenedStore {
  readonly store: SqliteConfigStore;
  /** Set when the database was damaged: what was done, for operators. */
  readonly recovery: string | undefined;
  /**
   * What there is to say of damage, this time's or an earlier one's: as long as a database that was put aside is there.
   * Whoever removes it has seen what was lost.
   */
  damage(): string | undefined;
  close(): void;
}

export function openStore(stateDir: string, nowMs: number): OpenedStore {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    chmodSync(stateDir, 0o700);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StoreError(
      'io',
      `the state directory ${stateDir} can't be used: ${reason}; choose another with --state DIR`,
    );
  }
  let lock: ReturnType<typeof lockState>;
  try {
    lock = lockState(stateDir);
  } catch (error) {
    throw storeError(error);
  }
  try {
    const { store, recovery } = openOrRecover(stateDir, nowMs);
    return {
      store,
      recovery,
      damage: () => damage(stateDir, recovery),
      close() {
        store.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** First of all in the log that begins with the new database. */
function tellRecovery(
  store: SqliteConfigStore,
  changes: readonly CommitChange[],
  timeMs: number,
  message: string,
): void {
  const made = {
    timeMs,
    action: ACTION.recover,
    actor: 'marcherd',
    via: 'agent',
    source: '',
    outcome: 'done',
  } as const;
  const objects = changes.map(({ kind, name }) => `${kind}/${name}`);
  store.openAudit().append([{ ...made, objects, moreObjects: 0, version: 1n, message, repeated: 0 }]);
}

function damage(stateDir: string, recovery: string | undefined): string | undefined {
  let aside: string[];
  try {
    aside = readdirSync(stateDir)
      .filter((name) => name.startsWith(ASIDE) && !/-(?:wal|shm)$/.test(name))
      .sort();
  } catch {
    return recovery;
  }
  const newest = aside.at(-1);
  if (newest === undefined) return undefined;
  const path = join(stateDir, newest);
  const what = recovery ?? `the database was damaged at an earlier start and is kept as ${path}`;
  const others = aside.length === 1 ? '' : ` and ${aside.length - 1} before it`;
  return `${what}; to dismiss this, remove ${path}${others}`;
}

function openOrRecover(stateDir: string, nowMs: number): { store: SqliteConfigStore; recovery: string | undefined } {
  const path = join(stateDir, FILE);
  try {
    return { store: new SqliteConfigStore(path), recovery: undefined };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'corrupt') throw error;
    const stamp = new Date(nowMs).toISOString().replaceAll(':', '').replace(/\.\d+/, '');
    const aside = join(stateDir, `${ASIDE}${stamp}`);
    for (const suffix of ['', '-wal', '-shm']) {
      if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
    }
    const store = new SqliteConfigStore(path);
    const kept = `the database was damaged (${error.message.split(';')[0]}) and is kept as ${aside}`;
    const drains = readLastGoodDrains(stateDir);
    for (const drain of drains ?? []) store.setDrained(drain, true);
    const drained = drains === undefined ? ' and what was drained' : '';
    const copy = readLastGoodCopy(stateDir);
    if (copy === undefined) {
      return { store, recovery: `${kept}; there was no copy of the configuration to recover` };
    }
    const configuration = fromBinary(ConfigurationSchema, copy);
    const { services } = configuration;
    const objects = objectsOf(configuration);
    const changes: CommitChange[] = services.map((service) => {
      return { kind: 'Service', name: service.name, before: undefined, after: packService(service) };
    });
    for (const object of objects) changes.push({ ...packObject(object), before: undefined });
    const message = 'recovered from the last good copy after the database was damaged';
    // Left pending: it is confirmed when the data plane runs it, as any version is.
    const revision = { timeMs: nowMs, author: 'marcherd', origin: 'recovery', message };
    if (changes.length > 0) store.commit(revision, changes, () => tellRecovery(store, changes, nowMs, message));
    store.close();
    const others = objects.length === 0 ? '' : ` and ${objects.length} other objects`;
    return {
      store: new SqliteConfigStore(path),
      recovery: `${kept}; ${services.length} services${others} were recovered, without their history${drained}`,
    };
  }
}
