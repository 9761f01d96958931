// SPDX-License-Identifier: Apache-2.0
/** What SQLite fails with, as the ports have it: what kind of failure that is, and what to do. */
import { StoreError, type StoreErrorCode } from '../../../ports/config-store.js';

function errorCode(code: string): StoreErrorCode {
  if (code.startsWith('SQLITE_FULL')) return 'full';
  if (code.startsWith('SQLITE_CORRUPT') || code.startsWith('SQLITE_NOTADB')) return 'corrupt';
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'busy';
  if (code.startsWith('SQLITE_IOERR') || code.startsWith('SQLITE_READONLY') || code.startsWith('SQLITE_CANTOPEN')) {
    return 'io';
  }
  return 'failed';
}

const ADVICE: Readonly<Record<StoreErrorCode, string>> = {
  full: 'the disk of the state directory is full: free some space and try again',
  io: 'the state directory cannot be written: check the disk, its mount and the permissions',
  busy: 'the database is locked by another process: stop it and try again',
  corrupt: 'the database file is damaged: restart the agent, which sets it aside and recovers',
  failed: 'see the log of the agent',
};

export function storeError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const code = errorCode(String((error as { code?: unknown }).code ?? ''));
  const text = error instanceof Error ? error.message : String(error);
  return new StoreError(code, `${text}; ${ADVICE[code]}`);
}
