// SPDX-License-Identifier: Apache-2.0
/** A mesh of one node in memory, as users and keys need it, and accounts over it whose passwords cost nothing. */
import { generateKeyPairSync } from 'node:crypto';
import { type AccountsParts, createAccounts } from '../../../../application/access/accounts.js';
import type { CellWrite } from '../../../../domain/replication/contract.js';
import { MemoryStore } from '../../../../domain/replication/memory-store.js';
import { Replica } from '../../../../domain/replication/replica.js';
import type { AccessMesh, AccessUseCases } from '../../../../ports/access.js';
import type { Told } from '../../../../ports/audit.js';
import { ApplicationError } from '../../../../ports/use-cases.js';
import { frameHash } from '../../mesh/frame-keys.js';
import { createArgon2Hasher } from '../argon2-hasher.js';
import { nodeSecrets } from '../node-secrets.js';
import { createSessionTokens } from '../session-tokens.js';
import { createTotpCodes } from '../totp-codes.js';

const NODE = '00000000000000a1';
const MESH = 'ab'.repeat(16);
const { privateKey, publicKey } = generateKeyPairSync('ed25519');

export class MemoryMesh implements AccessMesh {
  readonly meshId = MESH;
  readonly meshName = 'prod';
  readonly nodeId = NODE;
  readonly cells = new MemoryStore();
  readonly sessions = createSessionTokens({
    meshId: MESH,
    nodeId: NODE,
    key: privateKey,
    keyOf: (node) => (node === NODE ? publicKey : undefined),
  });
  readonly written: {
    readonly by: Told['by'];
    readonly action: string;
    readonly message: string;
    readonly writes: readonly CellWrite[];
  }[] = [];
  /** Whether the store can't be written. */
  fails = false;
  readonly #replica: Replica;

  constructor(nowMs: () => number) {
    const clocks = { wallMs: nowMs, monotonicMs: nowMs, random: () => 0.5 };
    const environment = { ...clocks, hash: frameHash, sign: frameHash, verify: () => true };
    this.#replica = new Replica({ node: BigInt(`0x${NODE}`), store: this.cells, environment, founds: true });
  }

  write(by: Told['by'], action: string, message: string, writes: readonly CellWrite[]): void {
    if (this.fails) throw new ApplicationError('unavailable', 'the store cannot be written');
    const result = this.#replica.write({ author: by.author, message, writes });
    if (!result.ok) throw new ApplicationError('unavailable', result.reason);
    this.written.push({ by, action, message, writes });
  }
}

export function cheapAccounts(meshOf: AccountsParts['meshOf'], nowMs: () => number): AccessUseCases {
  return createAccounts({
    meshOf,
    hasher: createArgon2Hasher({ memoryKib: 8, passes: 1 }),
    codes: createTotpCodes(),
    secrets: nodeSecrets,
    nowMs,
  });
}
