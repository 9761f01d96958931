// SPDX-License-Identifier: Apache-2.0
/**
 * What was ever written in one replica of a mesh, and so what must be in it when all is healed: every frame that is on a
 * disk of its nodes. What was only on a disk that was lost, or of a node that was taken out, is given up knowingly.
 */
import type { Cell, Frame, Hash, VectorState } from '../../domain/replication/contract.js';
import { markOf } from '../../domain/replication/digest.js';
import { mergeCell, objectKey } from '../../domain/replication/object.js';
import { covers } from '../../domain/replication/origin.js';
import type { ObjectsByKey } from '../../domain/replication/sim/objects-of-cells.js';

const keyOf = ({ origin, sequence }: Pick<Frame, 'origin' | 'sequence'>): string => `${origin}/${sequence}`;

export class ClusterJournal {
  readonly #frames = new Map<string, Frame>();
  /** Such a one may still be on its way to somebody: then it is everybody's again. */
  readonly #givenUp = new Map<string, Frame>();
  /** All that anybody may have seen: by these two frames of one number are told. */
  readonly #ever = new Map<string, Frame>();

  get frames(): number {
    return this.#ever.size;
  }

  /** Gives the other frame that had its number before; undefined: none had. */
  add(frame: Frame): Frame | undefined {
    const key = keyOf(frame);
    const known = this.#ever.get(key);
    if (known !== undefined && known.bytes !== frame.bytes && known.hash.join() !== frame.hash.join()) return known;
    this.#ever.set(key, frame);
    this.#frames.set(key, frame);
    this.#givenUp.delete(key);
    return undefined;
  }

  has(frame: Pick<Frame, 'origin' | 'sequence'>): boolean {
    return this.#ever.has(keyOf(frame));
  }

  /** Whether some frame of that number has written that. */
  wrote({ kind, id, group, origin, sequence }: Cell): boolean {
    const dot = keyOf({ origin, sequence });
    const frame = this.#ever.get(dot) ?? this.#givenUp.get(dot);
    return frame?.writes.some((write) => write.kind === kind && write.id === id && write.group === group) === true;
  }

  /** Those of them that no disk has any more. restored: a disk was; what only it had never was, and its numbers come again. */
  giveUp(which: (frame: Frame) => boolean, disks: readonly VectorState[], restored: boolean): void {
    for (const [key, frame] of this.#frames) {
      if (!which(frame) || disks.some((vector) => covers(vector, frame.origin, frame.sequence))) continue;
      this.#frames.delete(key);
      this.#givenUp.set(key, frame);
      if (restored) this.#ever.delete(key);
    }
  }

  /** Somebody took over a state with that in it. */
  takenOver({ heads }: VectorState): void {
    for (const [key, frame] of this.#givenUp) {
      if ((heads.get(frame.origin)?.sequence ?? 0) < frame.sequence) continue;
      this.#givenUp.delete(key);
      this.#frames.set(key, frame);
    }
  }

  /** What all of it makes; missing: frames that a vector does not have. */
  model(vector: VectorState, hash: Hash): { readonly objects: ObjectsByKey; readonly missing: readonly string[] } {
    const objects = new Map<string, Map<string, Cell>>();
    const missing: string[] = [];
    for (const [key, frame] of this.#frames) {
      if (!covers(vector, frame.origin, frame.sequence)) {
        missing.push(key);
        continue;
      }
      for (const write of frame.writes) {
        const object = objectKey(write.kind, write.id);
        const groups = objects.get(object) ?? new Map<string, Cell>();
        objects.set(object, groups);
        const cell = { ...write, stamp: frame.stamp, origin: frame.origin, sequence: frame.sequence };
        mergeCell(groups, { ...cell, mark: markOf(cell, hash) });
      }
    }
    return { objects, missing };
  }
}
