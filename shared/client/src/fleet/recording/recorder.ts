// SPDX-License-Identifier: Apache-2.0
/** Writes what a fleet hears as lines (recording-line.ts), until it is stopped or has written as much as it may. */
import type { Fleet } from '../fleet.js';
import { formatLine, type RecordingLine } from './recording-line.js';

export interface RecorderOptions {
  readonly fleet: Fleet;
  readonly nowMs: () => number;
  /** What the fleet publishes at. Default 500. */
  readonly intervalMs?: number;
  /** One line, with its end. Compressing is the caller's; a caller that can't keep up stops the recording. */
  readonly write: (line: string) => void;
  /** Characters in all. Default 64 Mi: a replay keeps them in memory. */
  readonly charactersMax?: number;
  /** It has ended by itself: as much as it may have is written. */
  readonly full?: () => void;
}

export interface Recording {
  readonly characters: number;
  readonly isFull: boolean;
  stop(): void;
}

/** Each node is asked for its whole state first. */
export function record(options: RecorderOptions): Recording {
  const { fleet, nowMs, write, charactersMax = 64 << 20 } = options;
  let characters = 0;
  let isFull = false;
  let isOver = false;
  let untap = (): void => {};
  const end = (why: string): void => {
    if (isOver) return;
    isOver = true;
    untap();
    write(`${formatLine({ kind: 'end', atMs: nowMs(), why })}\n`);
  };
  const put = (line: RecordingLine): void => {
    if (isOver) return;
    const text = `${formatLine(line)}\n`;
    if (characters + text.length > charactersMax) {
      isFull = true;
      end('full');
      options.full?.();
      return;
    }
    characters += text.length;
    write(text);
  };
  put({ kind: 'head', atMs: nowMs(), intervalMs: options.intervalMs ?? 500 });
  untap = fleet.tap({
    batch: (node, isEntry, beginsAtMs, batch, atMs) => put({ kind: 'batch', atMs, node, isEntry, beginsAtMs, batch }),
    link: (node, name, isEntry, link, atMs) => put({ kind: 'link', atMs, node, name, isEntry, link }),
    member: (node, name, member, atMs) => put({ kind: 'member', atMs, node, name, member }),
    gone: (node, atMs) => put({ kind: 'gone', atMs, node }),
  });
  if (isOver) untap();
  return {
    get characters() {
      return characters;
    },
    get isFull() {
      return isFull;
    },
    stop: () => end('stopped'),
  };
}
