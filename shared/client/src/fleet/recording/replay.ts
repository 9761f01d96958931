// SPDX-License-Identifier: Apache-2.0
/**
 * A recording as a source of states, on a clock of its own. What is behind is not kept: to go back it is played from the
 * beginning again, without a state in between (about a second for 10 MB).
 */
import { Assembly } from '../assembly.js';
import type { Ambient, FleetState } from '../contract.js';
import { type FleetSource, Listeners, type StateListener } from '../source.js';
import { Watched } from '../watched.js';
import { parseLine, RecordingError, type RecordingLine } from './recording-line.js';

export interface ReplayOptions {
  /** Without their ends; empty ones are passed over. */
  readonly lines: Iterable<string>;
  readonly ambient: Ambient;
  /** Characters in all. Default 64 Mi. */
  readonly charactersMax?: number;
}

/** Slower than this it would hardly move, faster than that it would leave out most. */
const SPEED_MIN = 0.1;
const SPEED_MAX = 100;

interface Recorded {
  readonly atMs: number;
  readonly text: string;
  readonly number: number;
}

export class Replay implements FleetSource {
  readonly #ambient: Ambient;
  readonly #lines: readonly Recorded[];
  readonly #intervalMs: number;
  readonly #listeners = new Listeners();
  readonly #watched: Watched;
  #services: ReadonlySet<string> = new Set();
  #assembly: Assembly;
  /** The first line that was not played yet. */
  #next = 0;
  #positionMs: number;
  #speed = 1;
  #ticking: { readonly cancel: () => void; readonly sinceMs: number } | undefined;
  #revision = 0;
  #state: FleetState;

  /** RecordingError: it is not a recording, or too large. */
  constructor({ lines, ambient, charactersMax = 64 << 20 }: ReplayOptions) {
    this.#ambient = ambient;
    this.#lines = kept(lines, charactersMax);
    const [head] = this.#lines;
    const first = head === undefined ? undefined : parseLine(head.text, head.number);
    if (first?.kind !== 'head') throw new RecordingError('it does not begin as a recording does');
    this.#intervalMs = first.intervalMs;
    this.#positionMs = first.atMs;
    this.#assembly = new Assembly(this.#intervalMs, first.atMs);
    this.#watched = new Watched((services) => {
      this.#services = services;
      this.#assembly.watch(services);
    });
    this.#state = this.#assembly.pause();
    this.seek(first.atMs);
  }

  get state(): FleetState {
    return this.#state;
  }

  readonly subscribe = (listener: StateListener): (() => void) => this.#listeners.add(listener);

  readonly watch = (services: Iterable<string>): (() => void) => this.#watched.add(services);

  /** Unix time of the first line, and of the last. */
  get startMs(): number {
    return this.#lines[0]?.atMs ?? 0;
  }

  get endMs(): number {
    return this.#lines.at(-1)?.atMs ?? 0;
  }

  /** Where it is. */
  get positionMs(): number {
    return this.#positionMs;
  }

  get isPlaying(): boolean {
    return this.#ticking !== undefined;
  }

  /** 1: as fast as it was. RecordingError: a line can't be read; it is paused there. */
  play(speed = 1): void {
    this.#speed = Math.min(SPEED_MAX, Math.max(SPEED_MIN, speed));
    this.#stop();
    if (this.#positionMs < this.endMs) this.#tick();
    this.#publish();
  }

  pause(): void {
    this.#stop();
    this.#publish();
  }

  /** RecordingError: a line on the way can't be read. */
  seek(atMs: number): void {
    const toMs = Math.min(this.endMs, Math.max(this.startMs, atMs));
    if (toMs < this.#positionMs) {
      this.#assembly = new Assembly(this.#intervalMs, this.startMs);
      this.#assembly.watch(this.#services);
      this.#next = 0;
    }
    this.#advance(toMs);
    this.#publish();
  }

  close(): void {
    this.#stop();
    this.#listeners.clear();
  }

  #stop(): void {
    this.#ticking?.cancel();
    this.#ticking = undefined;
  }

  #tick(): void {
    const sinceMs = this.#ambient.nowMs();
    const cancel = this.#ambient.after(this.#intervalMs, () => {
      this.#ticking = undefined;
      const passedMs = (this.#ambient.nowMs() - sinceMs) * this.#speed;
      const toMs = Math.min(this.endMs, this.#positionMs + passedMs);
      try {
        this.#advance(toMs);
        if (toMs < this.endMs) this.#tick();
      } finally {
        this.#publish();
      }
    });
    this.#ticking = { cancel, sinceMs };
  }

  #advance(toMs: number): void {
    for (;;) {
      const line = this.#lines[this.#next];
      if (line === undefined || line.atMs > toMs) break;
      this.#next++;
      this.#take(parseLine(line.text, line.number));
    }
    this.#positionMs = toMs;
  }

  #take(line: RecordingLine): void {
    if (line.kind === 'head' || line.kind === 'end') return;
    if (line.kind === 'gone') {
      this.#assembly.remove(line.node);
      return;
    }
    const known = this.#assembly.node(line.node);
    const isEntry = 'isEntry' in line && line.isEntry;
    const name = 'name' in line ? line.name : '';
    const record = known ?? this.#assembly.add(line.node, name, isEntry, { kind: 'connecting', sinceMs: line.atMs });
    if (line.kind === 'link') record.set({ link: line.link, ...(name === '' ? {} : { name }) });
    else if (line.kind === 'member') record.set({ member: line.member, ...(name === '' ? {} : { name }) });
    else {
      if (line.beginsAtMs !== undefined) record.begin(line.beginsAtMs);
      this.#assembly.take(record, line.batch, line.atMs);
    }
  }

  /** Revisions grow, also when it goes back. */
  #publish(): void {
    const published = this.#assembly.publish(this.#positionMs);
    const state = this.isPlaying ? published : this.#assembly.pause();
    if (state.nodes === this.#state.nodes && isSameButRevision(state, this.#state)) return;
    this.#state = { ...state, revision: ++this.#revision };
    this.#listeners.tell(this.#state);
  }
}

function isSameButRevision(a: FleetState, b: FleetState): boolean {
  return (
    a.services === b.services &&
    a.objects === b.objects &&
    a.backends === b.backends &&
    a.paused === b.paused &&
    a.mesh === b.mesh &&
    a.history === b.history
  );
}

function kept(lines: Iterable<string>, charactersMax: number): Recorded[] {
  const recorded: Recorded[] = [];
  let characters = 0;
  let number = 0;
  let latestMs = 0;
  for (const text of lines) {
    number++;
    if (text.trim() === '') continue;
    characters += text.length;
    if (characters > charactersMax) throw new RecordingError(`the recording has more than ${charactersMax} characters`);
    const time = /^\{"t":(\d+(?:\.\d+)?)[,}]/.exec(text);
    if (time === null) throw new RecordingError(`line ${number} of the recording has no time`);
    // A clock that was set back while it was recorded does not stop the replay.
    latestMs = Math.max(latestMs, Number(time[1]));
    recorded.push({ atMs: latestMs, text, number });
  }
  return recorded;
}
