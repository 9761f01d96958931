// SPDX-License-Identifier: Apache-2.0
/** Recordings of the console as files: written while it is open, and read to be shown again. */
import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { type Fleet, type Recording, RecordingError, record } from '@marcher/client/fleet';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';

/** As many characters as a replay keeps, in UTF-8. */
const BYTES_MAX = 256 << 20;

export interface FileRecording {
  /** "REC", "REC FULL", "REC FAILED": for the header. */
  readonly state: () => string;
  close(): void;
}

/** complain: it goes on without being recorded. Fails as Failure: nothing was written over. */
export function recordTo(path: string, fleet: Fleet, complain: (text: string) => void): FileRecording {
  const file = failing(() => openSync(path, 'wx', 0o600), path);
  let state = 'REC';
  let recording: Recording | undefined;
  const write = (line: string): void => {
    if (state === 'REC FAILED') return;
    try {
      const bytes = Buffer.from(line);
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    } catch (error) {
      state = 'REC FAILED';
      complain(`${path} is not written any more: ${(error as Error).message}`);
      // Not from within what it has called.
      queueMicrotask(() => recording?.stop());
    }
  };
  recording = record({
    ...{ fleet, write, nowMs: () => Date.now() },
    full: () => {
      state = 'REC FULL';
      complain(`${path} is as long as a recording may be: it ends here`);
    },
  });
  return {
    state: () => state,
    close() {
      recording.stop();
      closeSync(file);
    },
  };
}

/** Its lines. Fails as Failure. */
export function readRecording(path: string): readonly string[] {
  const text = failing(() => {
    const { size } = statSync(path);
    if (size > BYTES_MAX) throw new Error(`it has ${size} bytes: expected ${BYTES_MAX} at most`);
    return readFileSync(path, 'utf8');
  }, path);
  return text.split('\n');
}

export function notARecording(path: string, error: unknown): Failure {
  const why = error instanceof RecordingError ? error.message : String(error);
  return new Failure(ExitCode.error, `${path} can't be shown: ${why}`);
}

function failing<T>(run: () => T, path: string): T {
  try {
    return run();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'EEXIST' ? 'there is one already: move it away, or give another name' : message;
    throw new Failure(code === 'ENOENT' ? ExitCode.notFound : ExitCode.error, `${path} is not used: ${why}`);
  }
}
