// SPDX-License-Identifier: Apache-2.0
/**
 * What happens in gossip, for the log: of each kind at most one line a second, however much others cause. The first is
 * told at once; what comes within the second after it is told as one at its end.
 */
export type GossipEventKind =
  | 'joined'
  | 'suspect'
  | 'refuted' // suspected, and answers
  | 'dead'
  | 'left'
  | 'refused' // something from outside was not accepted
  | 'conflict' // two nodes use one id
  | 'stream-only' // its UDP is filtered, its TCP is not
  | 'late' // this process did not keep up with what its gossip told
  | 'restarted' // after onDied
  | 'memory'; // remembered members can't be read or written

export interface GossipEvent {
  readonly kind: GossipEventKind;
  /** Node ids or addresses, at most 8 of them. */
  readonly about: readonly string[];
  /** How often since the last line of this kind; of refused input, how much of it. */
  readonly count: number;
  /** Of the last. */
  readonly detail: string;
}

export interface Happening {
  readonly kind: GossipEventKind;
  readonly about: string;
  readonly detail?: string;
  readonly count?: number;
  /** Tells apart what has a line of its own: for what reason something was refused. */
  readonly reason?: string;
}

interface Waiting {
  readonly kind: GossipEventKind;
  readonly about: Set<string>;
  count: number;
  detail: string;
}

const LINE_EVERY_MS = 1_000;
const ABOUT_MAX = 8;
const TEXT_MAX = 256;

export class EventLines {
  readonly #tell: (event: GossipEvent) => void;
  /** Kinds that were told within the last second, each with what has come since. */
  readonly #quiet = new Map<string, { waiting: Waiting | undefined; readonly timer: NodeJS.Timeout }>();

  constructor(tell: (event: GossipEvent) => void) {
    this.#tell = tell;
  }

  add(happening: Happening): void {
    const { kind, about, detail = '', count = 1, reason = '' } = happening;
    const line = `${kind} ${reason}`;
    const quiet = this.#quiet.get(line);
    if (quiet === undefined) {
      this.#say(line, { kind, about: new Set([short(about)]), count, detail: short(detail) });
      return;
    }
    quiet.waiting ??= { kind, about: new Set(), count: 0, detail: '' };
    const { waiting } = quiet;
    if (waiting.about.size < ABOUT_MAX) waiting.about.add(short(about));
    waiting.count += count;
    waiting.detail = short(detail);
  }

  /** Tells at once what waits. */
  close(): void {
    const quiet = [...this.#quiet.values()];
    this.#quiet.clear();
    for (const { waiting, timer } of quiet) {
      clearTimeout(timer);
      if (waiting !== undefined) this.#tell(eventOf(waiting));
    }
  }

  #say(line: string, waiting: Waiting): void {
    const timer = setTimeout(() => {
      const next = this.#quiet.get(line)?.waiting;
      this.#quiet.delete(line);
      if (next !== undefined) this.#say(line, next);
    }, LINE_EVERY_MS);
    timer.unref();
    this.#quiet.set(line, { waiting: undefined, timer });
    this.#tell(eventOf(waiting));
  }
}

function eventOf({ kind, about, count, detail }: Waiting): GossipEvent {
  return { kind, about: [...about], count, detail };
}

function short(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}
