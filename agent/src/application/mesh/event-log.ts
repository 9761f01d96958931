// SPDX-License-Identifier: Apache-2.0
/**
 * What happens to the replica, for the log: of each kind at most one line a second, however much other nodes cause, and of
 * long lists their beginning. The first is said at once; what comes within the second after it is said as one at its end.
 */
import { nodeIdOf } from '../../domain/identity/names.js';
import type { ClusterName, ReplicaEvent } from '../../domain/replication/contract.js';

export interface ReplicationLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** cluster: of whose replica; absent: of the mesh's. */
export type SaidEvent = Exclude<ReplicaEvent, { type: 'changed' }> & { readonly cluster?: ClusterName };

const EVERY_MS = 1_000;
const KEYS_MAX = 8;
const TEXT_MAX = 512;

export class EventLog {
  readonly #log: ReplicationLog;
  /** Kinds of which a line was written in this second, with the last that came since. */
  readonly #quiet = new Map<SaidEvent['type'], { last: SaidEvent | undefined; count: number; timer: NodeJS.Timeout }>();

  constructor(log: ReplicationLog) {
    this.#log = log;
  }

  say(event: SaidEvent): void {
    const quiet = this.#quiet.get(event.type);
    if (quiet === undefined) {
      this.#write(event, 1);
      return;
    }
    quiet.last = event;
    quiet.count += 1;
  }

  /** Says at once what waits. */
  close(): void {
    for (const { last, count, timer } of this.#quiet.values()) {
      clearTimeout(timer);
      if (last !== undefined) this.#line(last, count);
    }
    this.#quiet.clear();
  }

  #write(event: SaidEvent, count: number): void {
    this.#line(event, count);
    const timer = setTimeout(() => {
      const quiet = this.#quiet.get(event.type);
      this.#quiet.delete(event.type);
      if (quiet?.last !== undefined) this.#write(quiet.last, quiet.count);
    }, EVERY_MS);
    timer.unref();
    this.#quiet.set(event.type, { last: undefined, count: 0, timer });
  }

  #line(event: SaidEvent, count: number): void {
    const { level, message } = SAID[event.type];
    this.#log[level]({ ...fieldsOf(event), count }, message);
  }
}

/** As a log can show them. */
function fieldsOf(event: SaidEvent): object {
  return Object.fromEntries(Object.entries(event).flatMap(([name, value]) => shown(name, value)));
}

function shown(name: string, value: unknown): [string, unknown][] {
  if (typeof value === 'bigint') return [[name, nodeIdOf(value)]];
  if (typeof value === 'string') return [[name, value.slice(0, TEXT_MAX)]];
  if (value instanceof Uint8Array) return [[name, Buffer.from(value).toString('hex')]];
  if (Array.isArray(value)) {
    return [
      [name, value.slice(0, KEYS_MAX)],
      [`${name}InAll`, value.length],
    ];
  }
  if (typeof value !== 'object' || value === null) return [[name, value]];
  const inner = Object.entries(value).flatMap(([part, of]) => shown(part, of));
  return [[name, Object.fromEntries(inner)]];
}

const SAID: Readonly<Record<SaidEvent['type'], { readonly level: keyof ReplicationLog; readonly message: string }>> = {
  quarantined: { level: 'warn', message: 'changes of a node whose clock is ahead wait for their time' },
  released: { level: 'info', message: 'changes that waited for their time have come into force' },
  forked: { level: 'error', message: 'two different changes have one number: no more are taken from that node' },
  late: { level: 'warn', message: 'changes came so late that what they change was forgotten: they are left out' },
  'edits-lost': {
    level: 'warn',
    message: 'edits of objects that were deleted while this node was away are left out',
  },
  damaged: { level: 'error', message: 'replicated state was damaged on disk, and is fetched from another node' },
  repaired: { level: 'warn', message: 'replicated state was made equal to that of another node' },
  incarnation: { level: 'info', message: 'this node writes under a new incarnation' },
  snapshot: { level: 'info', message: "the mesh's state was taken over from another node" },
  stale: { level: 'warn', message: "this node was away too long, and takes the mesh's state over anew" },
  'clock-off': {
    level: 'warn',
    message: "this machine's clock is behind: the mesh's state is not taken over until it is set",
  },
  refused: { level: 'warn', message: 'what another node sent was refused' },
  storage: { level: 'error', message: 'replicated changes could not be stored; trying again' },
  overflow: {
    level: 'warn',
    message: 'a node does not keep up: what waited for it is dropped, and it will compare',
  },
};
