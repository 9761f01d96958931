// SPDX-License-Identifier: Apache-2.0
/**
 * Argon2id (RFC 9106) with what OWASP asks for at least
 * (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html). A few at a time: each takes its
 * memory, and a thread of the pool that the data plane's calls run on, too.
 */
import { hash, hashRaw, verify } from '@node-rs/argon2';
import type { PasswordHasher } from '../../../ports/access.js';
import { ApplicationError } from '../../../ports/use-cases.js';

export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
}

const COST: Argon2Cost = { memoryKib: 19 * 1024, passes: 2 };
const AT_ONCE = 2;
const WAITING_MAX = 32;
const KEY_BYTES = 32;

/** Slots in turn, in the order in which they were asked for. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) {
      if (this.#waiting.length >= WAITING_MAX) {
        throw new ApplicationError('unavailable', 'too many passwords are being checked: try again in a moment');
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#free--;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/** cost: other than the default in tests alone. */
export function createArgon2Hasher({ memoryKib, passes }: Argon2Cost = COST): PasswordHasher {
  const turns = new Turns(AT_ONCE);
  // Argon2id is what the library takes when no other is named.
  const options = { memoryCost: memoryKib, timeCost: passes, parallelism: 1 };
  const nobody = hash('nobody has this password', options);
  // Whoever first needs it is told of a failure.
  nobody.catch(() => undefined);
  return {
    hash: (password) => turns.run(() => hash(password, options)),
    verify: async (known, password) => {
      const against = known ?? (await nobody);
      if (!isAffordable(against)) return false;
      const same = await turns.run(() => verify(against, password).catch(() => false));
      return same && known !== undefined;
    },
    sealingKey: (password, salt) =>
      turns.run(async () => new Uint8Array(await hashRaw(password, { ...options, salt, outputLen: KEY_BYTES }))),
  };
}

/** What another node has written is not to take all of this one's memory. */
const MEMORY_MAX_KIB = 128 * 1024;
const PASSES_MAX = 16;

function isAffordable(phc: string): boolean {
  const [, memory, passes] = /^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,4}),p=1\$/.exec(phc) ?? [];
  return memory !== undefined && Number(memory) <= MEMORY_MAX_KIB && Number(passes) <= PASSES_MAX;
}
