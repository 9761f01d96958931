// SPDX-License-Identifier: Apache-2.0
/**
 * One agent per state directory. The lock is SQLite's exclusive lock on a file of its own: the kernel drops it with the
 * process, however that ends, so no stale lock is ever left behind.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { StoreError } from '../../../ports/config-store.js';

export interface StateLock {
  release(): void;
}

export function lockState(stateDir: string): StateLock {
  const path = join(stateDir, 'agent.lock');
  const holder = join(stateDir, 'agent.pid');
  const database = new Database(path, { timeout: 0 });
  try {
    database.pragma('journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    const code = String((error as { code?: unknown }).code ?? '');
    if (!code.startsWith('SQLITE_BUSY')) throw error;
    const advice = 'stop that one, or give this one another directory with --state DIR';
    throw new StoreError('busy', `another agent${runningAs(holder)} uses ${stateDir}: ${advice}`);
  }
  writeFileSync(holder, `${process.pid}\n`, { mode: 0o600 });
  return { release: () => database.close() };
}

function runningAs(path: string): string {
  try {
    const pid = readFileSync(path, 'utf8').trim();
    return /^\d+$/.test(pid) ? ` (pid ${pid})` : '';
  } catch {
    return '';
  }
}
