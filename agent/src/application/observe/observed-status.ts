// SPDX-License-Identifier: Apache-2.0
/**
 * The node's status, and what of it counts as a change. Memory and traffic always move: those are looked at every two
 * seconds, and memory that is within a hundredth of what was said last is what was said. All else counts at once.
 */
import { toBinary } from '@bufbuild/protobuf';
import { type StatusResponse, StatusResponseSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { RevisedTable } from './revised-table.js';

/** Counting traffic reads all counters of the node. */
const MOVING_MS = 2_000;
const MEMORY_SHARE = 100n;

interface Told {
  readonly status: StatusResponse;
  readonly packed: Uint8Array;
}

export class ObservedStatus {
  readonly #table = new RevisedTable<Told>((a, b) => Buffer.compare(a.packed, b.packed) === 0);
  readonly #read: (options: { readonly withTraffic: boolean }) => StatusResponse;
  readonly #nowMs: () => number;
  #movedMs = Number.NEGATIVE_INFINITY;

  constructor(read: (options: { readonly withTraffic: boolean }) => StatusResponse, nowMs: () => number) {
    this.#read = read;
    this.#nowMs = nowMs;
  }

  get revision(): number {
    return this.#table.revision;
  }

  get status(): StatusResponse | undefined {
    return this.#table.get('')?.status;
  }

  look(): void {
    const before = this.status;
    const withTraffic = this.#nowMs() - this.#movedMs >= MOVING_MS;
    const status = this.#read({ withTraffic });
    if (withTraffic) this.#movedMs = this.#nowMs();
    if (before !== undefined) {
      settleMemory(status, before, withTraffic);
      if (!withTraffic) takeTraffic(status, before);
    }
    this.#table.set('', { status, packed: toBinary(StatusResponseSchema, status) });
  }
}

function settleMemory(status: StatusResponse, before: StatusResponse, mayMove: boolean): void {
  if (!mayMove || isNear(status.memoryBytes, before.memoryBytes)) status.memoryBytes = before.memoryBytes;
  const [engine, engineBefore] = [status.engine, before.engine];
  // Another engine has other memory.
  if (engine === undefined || engineBefore === undefined || engine.pid !== engineBefore.pid) return;
  if (!mayMove || isNear(engine.memoryBytes, engineBefore.memoryBytes)) engine.memoryBytes = engineBefore.memoryBytes;
}

function isNear(now: bigint, before: bigint): boolean {
  const difference = now > before ? now - before : before - now;
  return difference * MEMORY_SHARE <= before;
}

function takeTraffic(status: StatusResponse, { traffic, xdpDrops, guard }: StatusResponse): void {
  status.traffic = traffic;
  status.xdpDrops = xdpDrops;
  if (guard !== undefined) status.guard = guard;
}
