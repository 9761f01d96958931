// SPDX-License-Identifier: Apache-2.0
/** Read-only until unlocked, mesh by mesh, and locked again by itself. */

/** After so long without a write. */
const IDLE_MS = 15 * 60_000;

/** The mesh is read-only here. */
export class LockedError extends Error {}

export class WriteLock {
  readonly #nowMs: () => number;
  /** Until when, by mesh. */
  readonly #open = new Map<string, number>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** mesh: its id, or of a node in no mesh its key. */
  isUnlocked(mesh: string): boolean {
    return (this.#open.get(mesh) ?? 0) > this.#nowMs();
  }

  unlock(mesh: string): void {
    this.#open.set(mesh, this.#nowMs() + IDLE_MS);
  }

  lock(mesh: string): void {
    this.#open.delete(mesh);
  }

  /** Runs a write, and puts off the time when it locks by itself. LockedError: it is locked. */
  async write<T>(mesh: string, run: () => Promise<T>): Promise<T> {
    if (!this.isUnlocked(mesh)) {
      this.lock(mesh);
      throw new LockedError('this mesh is read-only here: unlock it first');
    }
    this.unlock(mesh);
    return await run();
  }
}
