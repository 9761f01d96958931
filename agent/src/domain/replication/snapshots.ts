// SPDX-License-Identifier: Apache-2.0
/** Whole states from member to member, part by part: given as of one read, taken all or nothing. */
import type { Backoff } from './backoff.js';
import type { Context } from './context.js';
import type { Cell, Message, NodeId, SnapshotReader } from './contract.js';
import type { SnapshotEnd } from './join.js';
import { messageBytes } from './outbox.js';

interface Given {
  readonly id: number;
  readonly reader: SnapshotReader;
  last: Extract<Message, { type: 'snapshot' }>;
  deadlineMs: number;
}

/** Gives; a part that is asked for again is given again. */
export class SnapshotGiver {
  readonly #context: Context;
  readonly #sessions = new Map<NodeId, Given>();

  constructor(context: Context) {
    this.#context = context;
  }

  request(node: NodeId, id: number, part: number, nowMs: number): void {
    const { ledger, settings, send } = this.#context;
    let session = this.#sessions.get(node);
    if (part === 0 && session?.id !== id) {
      this.#end(node);
      if (!ledger.admitted || this.#sessions.size >= settings.snapshotsMax) {
        send(node, { type: 'busy', id });
        return;
      }
      const reader = ledger.store.openSnapshot();
      session = { id, reader, last: this.#part(reader, id, 0), deadlineMs: 0 };
      this.#sessions.set(node, session);
    }
    if (session === undefined || session.id !== id) {
      send(node, { type: 'busy', id });
      return;
    }
    if (part === session.last.part + 1) session.last = this.#part(session.reader, id, part);
    if (part !== session.last.part) return;
    // Once more than an answer takes: the last part may be asked for again.
    session.deadlineMs = nowMs + 2 * settings.answerMs;
    send(node, session.last);
  }

  close(): void {
    for (const node of [...this.#sessions.keys()]) this.#end(node);
  }

  tick(nowMs: number): void {
    for (const [node, { deadlineMs }] of this.#sessions) if (deadlineMs <= nowMs) this.#end(node);
  }

  #part(reader: SnapshotReader, id: number, part: number): Extract<Message, { type: 'snapshot' }> {
    const cells = reader.next(this.#context.settings.answerBytes);
    const { heads, floors, clock, horizon, forks } = reader.state;
    return {
      type: 'snapshot',
      id,
      part,
      cells,
      end: cells.length > 0 ? undefined : { heads, floors, clock, horizon, forks },
    };
  }

  #end(node: NodeId): void {
    this.#sessions.get(node)?.reader.close();
    this.#sessions.delete(node);
  }
}

interface Taken {
  readonly node: NodeId;
  readonly id: number;
  part: number;
  readonly cells: Cell[];
  bytes: number;
  deadlineMs: number;
  tries: number;
}

/** Of one part, before another member is asked. */
const TRIES_MAX = 3;

/** Takes, one at a time. */
export class SnapshotTaker {
  readonly #context: Context;
  readonly #backoff: Backoff;
  #taken: Taken | undefined;
  #id: number;

  constructor(context: Context, backoff: Backoff) {
    this.#context = context;
    this.#backoff = backoff;
    // A restarted node must not be answered from a session of before.
    this.#id = Math.floor(context.environment.random() * 2 ** 31);
  }

  get active(): boolean {
    return this.#taken !== undefined;
  }

  start(node: NodeId, nowMs: number): void {
    if (this.#taken !== undefined || !this.#backoff.isOver(node, nowMs)) return;
    const { settings, send } = this.#context;
    const deadlineMs = nowMs + settings.answerMs;
    this.#taken = { node, id: ++this.#id, part: 0, cells: [], bytes: 0, deadlineMs, tries: 1 };
    send(node, { type: 'snapshot-request', id: this.#id, part: 0 });
  }

  /** All cells and what goes with them, when the last part has come. */
  part(
    node: NodeId,
    message: Extract<Message, { type: 'snapshot' }>,
    nowMs: number,
  ): { readonly cells: readonly Cell[]; readonly end: SnapshotEnd } | undefined {
    const { settings, send, emit } = this.#context;
    const taken = this.#taken;
    if (taken === undefined || taken.node !== node || taken.id !== message.id || taken.part !== message.part)
      return undefined;
    if (message.end !== undefined) {
      this.#taken = undefined;
      this.#backoff.succeeded(node);
      for (const cell of message.cells) taken.cells.push(cell);
      return { cells: taken.cells, end: message.end };
    }
    taken.bytes += messageBytes(message);
    if (message.cells.length === 0 || taken.bytes > settings.snapshotBytesMax) {
      emit({ type: 'refused', from: node, reason: `a snapshot of more than ${settings.snapshotBytesMax} bytes` });
      this.#fail(nowMs);
      return undefined;
    }
    for (const cell of message.cells) taken.cells.push(cell);
    taken.part++;
    taken.tries = 1;
    taken.deadlineMs = nowMs + settings.answerMs;
    send(node, { type: 'snapshot-request', id: taken.id, part: taken.part });
    return undefined;
  }

  busy(node: NodeId, id: number, nowMs: number): void {
    if (this.#taken?.node === node && this.#taken.id === id) this.#fail(nowMs);
  }

  tick(nowMs: number): void {
    const taken = this.#taken;
    if (taken === undefined || taken.deadlineMs > nowMs) return;
    if (taken.tries >= TRIES_MAX) {
      this.#fail(nowMs);
      return;
    }
    taken.tries++;
    taken.deadlineMs = nowMs + this.#context.settings.answerMs;
    this.#context.send(taken.node, { type: 'snapshot-request', id: taken.id, part: taken.part });
  }

  /** That member is gone. */
  stop(node: NodeId, nowMs: number): void {
    if (this.#taken?.node === node) this.#fail(nowMs);
  }

  #fail(nowMs: number): void {
    if (this.#taken !== undefined) this.#backoff.failed(this.#taken.node, nowMs);
    this.#taken = undefined;
  }
}
