// SPDX-License-Identifier: Apache-2.0
/**
 * Denied attempts on their way into the audit log. Whoever is denied can try as often as they like, and the log is there
 * for what was changed: attempts of one actor at one action are counted together until there is room for an entry of
 * them, and room comes at a slow pace. The first ones of an attack are all there; of a flood there is how large it was.
 */
import type { AuditEntry } from '@marcher/audit';

export interface DenialRules {
  /** Entries that may be written at once. */
  readonly burst: number;
  /** Time after which there is room for another. */
  readonly refillMs: number;
  /** Kinds of attempts that are told apart while they wait. */
  readonly kindsMax: number;
}

/** 8,640 entries a day of an unending flood, less than 4 MiB. */
export const DENIAL_RULES: DenialRules = { burst: 60, refillMs: 10_000, kindsMax: 64 };

export const OTHERS = { actor: '(others)', action: '(several)' } as const;

interface Waiting {
  readonly first: AuditEntry;
  count: number;
}

export class Denials {
  readonly #rules: DenialRules;
  readonly #waiting = new Map<string, Waiting>();
  #others: Waiting | undefined;
  #room: number;
  #refilledMs: number;

  constructor(rules: DenialRules, nowMs: number) {
    this.#rules = rules;
    this.#room = rules.burst;
    this.#refilledMs = nowMs;
  }

  get waiting(): boolean {
    return this.#waiting.size > 0 || this.#others !== undefined;
  }

  note(entry: AuditEntry): void {
    const key = JSON.stringify([entry.actor, entry.via, entry.source, entry.action]);
    const known = this.#waiting.get(key);
    if (known !== undefined) known.count++;
    else if (this.#waiting.size < this.#rules.kindsMax) this.#waiting.set(key, { first: entry, count: 1 });
    else if (this.#others !== undefined) this.#others.count++;
    else {
      const message = 'attempts of more actors, or at more actions, than are told apart at once';
      const first = { ...entry, ...OTHERS, via: '', source: '', objects: [], moreObjects: 0, message };
      this.#others = { first, count: 1 };
    }
  }

  /** Those that there is room for, the oldest first; with everything, all. They are gone from here when commit() was called. */
  take(nowMs: number, everything = false): { readonly entries: readonly AuditEntry[]; commit(): void } {
    const { burst, refillMs } = this.#rules;
    const gained = Math.floor(Math.max(0, nowMs - this.#refilledMs) / refillMs);
    this.#room = Math.min(burst, this.#room + gained);
    this.#refilledMs = this.#room === burst ? nowMs : this.#refilledMs + gained * refillMs;
    const all = [...this.#waiting];
    const taken = everything ? all : all.slice(0, this.#room);
    const others = everything || taken.length < this.#room ? this.#others : undefined;
    const entries = [...taken.map(([, waiting]) => waiting), ...(others === undefined ? [] : [others])].map(entryOf);
    return {
      entries,
      commit: () => {
        for (const [key] of taken) this.#waiting.delete(key);
        if (others !== undefined) this.#others = undefined;
        this.#room = Math.max(0, this.#room - entries.length);
      },
    };
  }
}

function entryOf({ first, count }: Waiting): AuditEntry {
  return { ...first, repeated: count - 1 };
}
