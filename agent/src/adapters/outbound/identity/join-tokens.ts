// SPDX-License-Identifier: Apache-2.0
/** Makes and redeems join tokens at their home: randomness and hashes; the rules are in domain/identity/join-token.ts. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { AttemptLimit, type AttemptRules, JOIN_ATTEMPTS } from '../../../domain/identity/attempt-limit.js';
import {
  forgettable,
  formatToken,
  judgeToken,
  lifetimeFault,
  type NodeRole,
  parseToken,
  TOKEN,
  type TokenRecord,
  type TokenRefusal,
  tokenElsewhere,
  tokenJustUsed,
} from '../../../domain/identity/join-token.js';
import { sourceOf } from '../../../domain/identity/source.js';
import { IdentityError, type TokenStore } from '../../../ports/identity.js';
import { newNodeId } from './new-ids.js';

export interface TokenRequest {
  readonly role: NodeRole;
  /** That the node is to be in: kept here, and in nothing that the joiner has. */
  readonly clusters?: readonly string[];
  readonly lifetimeMs: number;
  readonly createdBy: string;
  /** Of the root that signed this node's certificate, since that is what the joiner will see. */
  readonly rootFingerprint: string;
}

interface Refused {
  readonly kind: 'refused';
  readonly refusal: TokenRefusal | 'not-a-token';
  readonly reason: string;
}

export type Attempt =
  | { readonly kind: 'good' }
  | Refused
  | { readonly kind: 'slowed'; readonly retryAfterMs: number; readonly reason: string };

export type Redemption =
  | {
      readonly kind: 'redeemed';
      readonly nodeId: string;
      readonly role: NodeRole;
      readonly clusters: readonly string[];
    }
  | Refused;

/** Compared with when there is no record, so that an unknown id takes as long as a wrong secret. */
const NO_HASH = Buffer.alloc(32);

export class JoinTokens {
  readonly #store: TokenStore;
  readonly #home: string;
  readonly #attempts: AttemptLimit;

  /** home: this node's id. */
  constructor(store: TokenStore, home: string, attempts: AttemptRules = JOIN_ATTEMPTS) {
    this.#store = store;
    this.#home = home;
    this.#attempts = new AttemptLimit(attempts);
  }

  /** text is what the operator gets, and is nowhere else. Fails as IdentityError "invalid", "limit", "io". */
  create(request: TokenRequest, nowMs: number): { readonly text: string; readonly record: TokenRecord } {
    const { role, clusters = [], lifetimeMs, createdBy, rootFingerprint } = request;
    const fault = lifetimeFault(lifetimeMs);
    if (fault !== undefined) throw new IdentityError('invalid', fault);
    this.#store.remove(forgettable(this.#store.list(), nowMs));
    const id = randomBytes(TOKEN.idBytes).toString('hex');
    const secret = randomBytes(TOKEN.secretBytes);
    const expiresMs = nowMs + lifetimeMs;
    const secretHash = hash(secret).toString('hex');
    const kept = { id, secretHash, role, createdMs: nowMs, expiresMs, createdBy, used: undefined };
    const record: TokenRecord = clusters.length === 0 ? kept : { ...kept, clusters };
    this.#store.add(record);
    return { text: formatToken({ home: this.#home, id, secret, rootFingerprint }), record };
  }

  /**
   * Whether a token would be redeemed now, by somebody at source (an IP address): asked first of all, since what it takes to check the
   * rest is for those who have one, and so is what the answers tell. Each time counts as an attempt.
   */
  attempt(text: string, source: string, nowMs: number): Attempt {
    const admission = this.#attempts.admit(sourceOf(source), nowMs);
    if (!admission.admitted) {
      const { retryAfterMs } = admission;
      const seconds = Math.ceil(retryAfterMs / 1_000);
      return { kind: 'slowed', retryAfterMs, reason: `too many attempts to join: try again in ${seconds} s` };
    }
    const judged = this.#judge(text, nowMs);
    return judged.kind === 'good' ? { kind: 'good' } : judged;
  }

  /**
   * Spends a token, and gives the joiner its id and role. To be called when attempt() has said that it is good, and
   * everything else that could be refused has been checked, such as the certificate request.
   */
  redeem(text: string, nowMs: number): Redemption {
    const judged = this.#judge(text, nowMs);
    if (judged.kind === 'refused') return judged;
    const { id, role, clusters = [] } = judged.record;
    const nodeId = newNodeId();
    if (!this.#store.use(id, { atMs: nowMs, nodeId })) return tokenJustUsed();
    return { kind: 'redeemed', nodeId, role, clusters };
  }

  #judge(text: string, nowMs: number): Refused | { readonly kind: 'good'; readonly record: TokenRecord } {
    const parsed = parseToken(text);
    if (parsed.kind === 'fault') return { kind: 'refused', refusal: 'not-a-token', reason: parsed.reason };
    const { home, id, secret } = parsed.token;
    if (home !== this.#home) return tokenElsewhere(home);
    const record = this.#store.find(id);
    const expected = record === undefined ? NO_HASH : Buffer.from(record.secretHash, 'hex');
    const matches = timingSafeEqual(hash(secret), expected);
    return judgeToken(record, matches, nowMs);
  }

  list(): readonly TokenRecord[] {
    return this.#store.list();
  }

  /** Whether it was there. */
  remove(id: string): boolean {
    return this.#store.remove([id]) === 1;
  }
}

function hash(secret: Uint8Array): Buffer {
  return createHash('sha256').update(secret).digest();
}
