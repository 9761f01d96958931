// SPDX-License-Identifier: Apache-2.0
/**
 * What was refused at the mesh's door (or another that strangers reach), for the log: strangers can cause any number of these, and the log takes one line
 * per kind and second, with how many it stands for.
 */
import type { ListenerRefusal } from '../../outbound/identity/mesh-listener.js';

export type MeshRefusal =
  | ListenerRefusal
  | 'protocol' // it speaks none that is spoken here, or breaks its rules
  | 'removed' // a node that was removed from the mesh
  | 'replaced' // the node has connected again
  | 'call' // it may not call that, or not now
  | 'message' // what a peer sent is no message
  | 'relayed' // a call that a node passes on, or its connection
  | 'join';

export interface MeshLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface Refused {
  readonly reason: string;
  readonly from: string;
}

const EVERY_MS = 1_000;

/** Where they are refused, as lines of the log say it. */
export interface RefusalPlace {
  readonly audit: string;
  readonly message: string;
}

const MESH_PORT: RefusalPlace = { audit: 'mesh-refused', message: 'refused at the mesh port' };

export class RefusalLog<Kind extends string = MeshRefusal> {
  readonly #logger: MeshLogger;
  readonly #everyMs: number;
  readonly #place: RefusalPlace;
  /** Kinds of which a line was written in this second, and what came since. */
  readonly #quiet = new Map<Kind, { last: Refused | undefined; count: number; timer: NodeJS.Timeout }>();
  readonly #counts = new Map<Kind, number>();

  constructor(logger: MeshLogger, everyMs: number = EVERY_MS, place: RefusalPlace = MESH_PORT) {
    this.#logger = logger;
    this.#everyMs = everyMs;
    this.#place = place;
  }

  /** Since the start. */
  get counts(): ReadonlyMap<Kind, number> {
    return this.#counts;
  }

  note(refusal: Kind, refused: Refused): void {
    this.#counts.set(refusal, (this.#counts.get(refusal) ?? 0) + 1);
    const quiet = this.#quiet.get(refusal);
    if (quiet === undefined) {
      this.#write(refusal, refused, 1);
      return;
    }
    quiet.last = refused;
    quiet.count += 1;
  }

  close(): void {
    for (const { timer } of this.#quiet.values()) clearTimeout(timer);
    for (const [refusal, { last, count }] of this.#quiet) if (last !== undefined) this.#line(refusal, last, count);
    this.#quiet.clear();
  }

  #write(refusal: Kind, refused: Refused, count: number): void {
    this.#line(refusal, refused, count);
    const timer = setTimeout(() => {
      const quiet = this.#quiet.get(refusal);
      this.#quiet.delete(refusal);
      if (quiet?.last !== undefined) this.#write(refusal, quiet.last, quiet.count);
    }, this.#everyMs);
    timer.unref();
    this.#quiet.set(refusal, { last: undefined, count: 0, timer });
  }

  #line(refusal: Kind, { reason, from }: Refused, count: number): void {
    const { audit, message } = this.#place;
    this.#logger.warn({ audit, refusal, from, reason, count }, message);
  }
}
