// SPDX-License-Identifier: Apache-2.0
/**
 * Secrets that every member can read and nobody else, such as the keys of services' certificates: what is sealed is kept with
 * the replicated state, what opens it is this node's own key. A node that was removed can read what it could before, and nothing
 * that is written once the writer has heard of it; one that has joined is given the keys by a member that has them.
 */
import {
  forgettable,
  lacking,
  recipientBytes,
  recipientWrites,
  SECRETS_KEY_KIND,
  SECRETS_RECIPIENT_KIND,
  type SecretsKey,
  type SecretsRecipient,
  type SecretsShare,
  sealingKey,
  secretsKeyRemoval,
  secretsKeyWrites,
  shareWrite,
  unpackRecipient,
  unpackSecretsKey,
} from '../../domain/mesh/secrets-key.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import type { SecretBox } from '../../ports/secrets.js';

export interface MeshSecretsOptions {
  readonly meshId: string;
  readonly nodeId: string;
  readonly cells: ReplicaStore;
  readonly box: SecretBox;
  readonly members: () => ReadonlySet<string>;
  /** It was a member, and is not any more. */
  readonly isRemoved: (nodeId: string) => boolean;
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  /** By this node's frame key. */
  readonly sign: (hash: Uint8Array) => Uint8Array;
  readonly verify: (nodeId: string, hash: Uint8Array, signature: Uint8Array) => boolean;
  /** Throws when that can't be written. */
  readonly write: (message: string, writes: readonly CellWrite[]) => void;
  /** Ids of keys that something is sealed by. */
  readonly used: () => ReadonlySet<string>;
  readonly nowMs: () => number;
}

export interface Sealed {
  readonly keyId: string;
  readonly sealed: Uint8Array;
  /** Of a key that was made for it: to be written with what is sealed. */
  readonly writes: readonly CellWrite[];
}

export class MeshSecrets {
  readonly #options: MeshSecretsOptions;
  readonly #keys = new Map<string, SecretsKey>();
  readonly #recipients = new Map<string, SecretsRecipient>();
  /** Those whose signature was verified, by node. */
  readonly #believed = new Map<string, SecretsRecipient>();
  /** Opened ones, by id. */
  readonly #open = new Map<string, Uint8Array>();

  constructor(options: MeshSecretsOptions) {
    this.#options = options;
  }

  /** Reads what is stored. */
  load(): void {
    for (const kind of [SECRETS_KEY_KIND, SECRETS_RECIPIENT_KIND]) {
      for (const { id, groups } of objectsOfKind(this.#options.cells, kind)) this.#take(kind, id, valuesOf(groups));
    }
  }

  /** They look different now. */
  changed(kind: string, ids: Iterable<string>): void {
    if (kind !== SECRETS_KEY_KIND && kind !== SECRETS_RECIPIENT_KIND) return;
    for (const id of ids) {
      const groups = new Map(this.#options.cells.object(kind, id).map((cell) => [cell.group, cell]));
      this.#take(kind, id, valuesOf(groups));
    }
  }

  /** For members as this node knows them. about: see ports/secrets.ts. */
  seal(secret: Uint8Array, about: string): Sealed {
    const { box, members } = this.#options;
    const mine = [...this.#keys.values()].filter(({ id }) => this.#opened(id) !== undefined);
    const found = sealingKey(mine, members());
    const key = found && this.#opened(found.id);
    if (found !== undefined && key !== undefined) {
      return { keyId: found.id, sealed: box.seal(key, secret, about), writes: [] };
    }
    const made = this.#make();
    return { keyId: made.id, sealed: box.seal(made.key, secret, about), writes: made.writes };
  }

  /** undefined: this node does not have the key (yet), or it was changed. */
  open(keyId: string, sealed: Uint8Array, about: string): Uint8Array | undefined {
    const key = this.#opened(keyId);
    return key && this.#options.box.open(key, sealed, about);
  }

  has(keyId: string): boolean {
    return this.#opened(keyId) !== undefined;
  }

  /**
   * Says what is sealed to this node, gives keys to members that came later, and forgets those that nothing is sealed by.
   * alive: ids of other members that answer; turn: only what is this node's to do first. Throws when that can't be written.
   */
  keep(alive: readonly string[], turn: boolean): void {
    const { nodeId, write, members, nowMs, used, isRemoved } = this.#options;
    const own = this.#ownRecipient();
    if (own.length > 0) write('what secrets are sealed to this node by', own);
    const there = members();
    const known = this.#believedRecipients(there);
    const writes: CellWrite[] = [];
    for (const key of this.#keys.values()) {
      const opened = this.#opened(key.id);
      if (opened === undefined) continue;
      const missing = lacking(key, there, known);
      const holders = alive.filter((id) => key.shares.has(id) && !missing.includes(id));
      if (turn && holders.some((id) => id < nodeId)) continue;
      for (const id of missing) {
        const recipient = known.get(id);
        if (recipient !== undefined) writes.push(shareWrite(key.id, id, this.#share(key.id, opened, id, recipient)));
      }
    }
    if (writes.length > 0) write('secrets are opened to nodes that joined', writes);
    if (turn) return;
    const old = forgettable(this.#keys.values(), used(), there, nowMs()).map(secretsKeyRemoval);
    const gone = [...this.#recipients.keys()]
      .filter(isRemoved)
      .map((id) => ({ kind: SECRETS_RECIPIENT_KIND, id, group: EXISTENCE, value: undefined }));
    if (old.length + gone.length > 0) write('keys of secrets that seal nothing are forgotten', [...old, ...gone]);
  }

  #take(kind: string, id: string, values: ReadonlyMap<string, Uint8Array> | undefined): void {
    if (kind === SECRETS_RECIPIENT_KIND) {
      const recipient = values && unpackRecipient(values);
      this.#believed.delete(id);
      if (recipient === undefined) this.#recipients.delete(id);
      else this.#recipients.set(id, recipient);
      return;
    }
    const key = values && unpackSecretsKey(id, values);
    if (key !== undefined) this.#keys.set(id, key);
    else {
      this.#keys.delete(id);
      this.#open.delete(id);
    }
  }

  #opened(id: string): Uint8Array | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const { box, nodeId } = this.#options;
    const share = this.#keys.get(id)?.shares.get(nodeId);
    const key = share && box.unwrap(share.sealed, this.#about(id, nodeId));
    if (key !== undefined) this.#open.set(id, key);
    return key;
  }

  #make(): { readonly id: string; readonly key: Uint8Array; readonly writes: readonly CellWrite[] } {
    const { box, nodeId, members, nowMs } = this.#options;
    const id = box.newKeyId();
    const key = box.newKey();
    const own = this.#ownRecipient();
    const recipients = new Map(this.#believedRecipients(members()));
    recipients.set(nodeId, { publicKey: box.publicKey, signature: new Uint8Array(0) });
    const shares = new Map([...recipients].map(([to, recipient]) => [to, this.#share(id, key, to, recipient)]));
    // Of two keys the later one is used: it must not seem older than what it comes after, whatever the clock says.
    const createdMs = Math.max(nowMs(), ...[...this.#keys.values()].map((known) => known.createdMs + 1));
    return { id, key, writes: [...own, ...secretsKeyWrites({ id, createdMs, shares })] };
  }

  #share(keyId: string, key: Uint8Array, to: string, { publicKey }: SecretsRecipient): SecretsShare {
    return { publicKey, sealed: this.#options.box.wrap(key, publicKey, this.#about(keyId, to)) };
  }

  #about(keyId: string, nodeId: string): string {
    return `${this.#options.meshId} ${keyId} ${nodeId}`;
  }

  /** What others do not know yet of this node. */
  #ownRecipient(): CellWrite[] {
    const { meshId, nodeId, box, hash, sign } = this.#options;
    const known = this.#recipients.get(nodeId);
    // Ed25519 gives the same for the same.
    const signature = sign(hash(recipientBytes({ meshId, nodeId }, box.publicKey)));
    const same = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;
    if (known !== undefined && same(known.publicKey, box.publicKey) && same(known.signature, signature)) return [];
    return recipientWrites(nodeId, { publicKey: box.publicKey, signature }, known === undefined);
  }

  /** Of members. Nobody is given a key for what another says is its own. */
  #believedRecipients(members: ReadonlySet<string>): ReadonlyMap<string, SecretsRecipient> {
    const { meshId, hash, verify } = this.#options;
    for (const [nodeId, recipient] of this.#recipients) {
      if (this.#believed.has(nodeId) || !members.has(nodeId)) continue;
      const hashed = hash(recipientBytes({ meshId, nodeId }, recipient.publicKey));
      if (verify(nodeId, hashed, recipient.signature)) this.#believed.set(nodeId, recipient);
    }
    return new Map([...this.#believed].filter(([nodeId]) => members.has(nodeId)));
  }
}
