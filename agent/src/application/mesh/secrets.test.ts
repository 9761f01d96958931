// SPDX-License-Identifier: Apache-2.0
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { expect, test } from 'vitest';
import { createSecretBox } from '../../adapters/outbound/identity/secret-box.js';
import { SECRETS_KEY_KIND, SECRETS_RECIPIENT_KIND } from '../../domain/mesh/secrets-key.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import { Replica } from '../../domain/replication/replica.js';
import { MeshSecrets } from './secrets.js';

const [A, B, C] = ['00000000000000a1', '00000000000000b2', '00000000000000c3'] as const;
const ABOUT = 'certificate api ff';
const KEY = Buffer.from('a private key');
const DAY = 86_400_000;

/** Nodes that have all that any of them writes. */
class TestMesh {
  nowMs = 1_795_000_000_000;
  readonly members = new Set<string>();
  readonly used = new Set<string>();
  readonly written: CellWrite[] = [];
  readonly #frameKeys = new Map<string, ReturnType<typeof generateKeyPairSync>>();
  readonly #nodes = new Map<string, MeshSecrets>();
  readonly #cells = new MemoryStore();
  readonly #replica: Replica;

  constructor() {
    const clocks = { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs, random: () => 0.5 };
    const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
    const environment = { ...clocks, hash, sign: hash, verify: () => true };
    this.#replica = new Replica({ node: 1n, store: this.#cells, environment, founds: true });
  }

  join(nodeId: string): MeshSecrets {
    this.members.add(nodeId);
    this.#frameKeys.set(nodeId, generateKeyPairSync('ed25519') as never);
    const made = new MeshSecrets({
      ...{ meshId: 'ab'.repeat(16), nodeId, cells: this.#cells, nowMs: () => this.nowMs },
      box: createSecretBox(generateKeyPairSync('x25519').privateKey),
      members: () => this.members,
      isRemoved: (id) => this.#frameKeys.has(id) && !this.members.has(id),
      hash: (bytes) => createHash('sha256').update(bytes).digest(),
      sign: (hashed) => sign(null, hashed, this.#frameKeys.get(nodeId)?.privateKey as never),
      verify: (id, hashed, signature) => {
        const key = this.#frameKeys.get(id);
        return key !== undefined && verify(null, hashed, key.publicKey as never, signature);
      },
      write: (_message, writes) => this.write(writes),
      used: () => this.used,
    });
    made.load();
    this.#nodes.set(nodeId, made);
    return made;
  }

  write(writes: readonly CellWrite[]): void {
    expect(this.#replica.write({ author: '', message: '', writes })).toMatchObject({ ok: true });
    this.written.push(...writes);
    for (const { kind, id } of writes) for (const node of this.#nodes.values()) node.changed(kind, [id]);
  }

  keep(...turns: readonly string[]): void {
    for (const id of turns) {
      this.#nodes.get(id)?.keep(
        [...this.members].filter((other) => other !== id),
        false,
      );
    }
  }
}

function sealAt(mesh: TestMesh, at: MeshSecrets): { readonly keyId: string; readonly sealed: Uint8Array } {
  const { keyId, sealed, writes } = at.seal(KEY, ABOUT);
  if (writes.length > 0) mesh.write(writes);
  mesh.used.add(keyId);
  return { keyId, sealed };
}

test('all members open what one has sealed, and a machine that joins does once a member has seen it', () => {
  const mesh = new TestMesh();
  const [a, b] = [mesh.join(A), mesh.join(B)];
  mesh.keep(A, B);
  const { keyId, sealed } = sealAt(mesh, a);
  expect(b.open(keyId, sealed, ABOUT)).toEqual(KEY);
  expect(b.open(keyId, sealed, 'certificate web ff')).toBeUndefined();
  const c = mesh.join(C);
  expect([c.has(keyId), c.open(keyId, sealed, ABOUT)]).toEqual([false, undefined]);
  mesh.keep(C, B);
  expect(c.open(keyId, sealed, ABOUT)).toEqual(KEY);
  const { length } = mesh.written;
  mesh.keep(A, B, C);
  // Nothing is said twice, and one key is enough for all.
  expect(mesh.written).toHaveLength(length);
  expect(sealAt(mesh, c).keyId).toBe(keyId);
});

test('a node that was removed opens what it could, and nothing that is sealed afterwards', () => {
  const mesh = new TestMesh();
  const [a, b, c] = [mesh.join(A), mesh.join(B), mesh.join(C)];
  mesh.keep(A, B, C);
  const before = sealAt(mesh, a);
  mesh.members.delete(C);
  const after = sealAt(mesh, b);
  expect(after.keyId).not.toBe(before.keyId);
  expect(c.open(before.keyId, before.sealed, ABOUT)).toEqual(KEY);
  expect(c.open(after.keyId, after.sealed, ABOUT)).toBeUndefined();
  mesh.keep(A, B);
  expect(c.has(after.keyId)).toBe(false);
  expect([a.open(after.keyId, after.sealed, ABOUT), b.open(before.keyId, before.sealed, ABOUT)]).toEqual([KEY, KEY]);
  // And the one before is forgotten when nothing is sealed by it any more.
  mesh.used.delete(before.keyId);
  mesh.nowMs += 31 * DAY;
  mesh.keep(A);
  expect([a.has(before.keyId), a.has(after.keyId)]).toEqual([false, true]);
  const gone = mesh.written.filter(({ group, value }) => group === EXISTENCE && value === undefined);
  expect(gone.map(({ id }) => id)).toEqual([C, before.keyId]);
});

test('nobody is given a key for what another says is its own', () => {
  const mesh = new TestMesh();
  const [a, b] = [mesh.join(A), mesh.join(B)];
  mesh.keep(A, B);
  // A third one writes A's word for B, and its own key under B's name.
  const own = mesh.written.find(({ kind, id, group }) => kind === SECRETS_RECIPIENT_KIND && id === A && group === '1');
  mesh.write([{ kind: SECRETS_RECIPIENT_KIND, id: B, group: '1', value: own?.value }]);
  const { keyId, sealed } = sealAt(mesh, a);
  const shares = mesh.written.filter(({ kind, group }) => kind === SECRETS_KEY_KIND && group.startsWith('for/'));
  expect(shares.map(({ group }) => group)).toEqual([`for/${A}`]);
  // B says it again, and is given it.
  mesh.keep(B, A);
  expect(b.open(keyId, sealed, ABOUT)).toEqual(KEY);
});

test('while it is the turn of another, a member leaves it to that one', () => {
  const mesh = new TestMesh();
  const [a, b] = [mesh.join(A), mesh.join(B)];
  mesh.keep(A, B);
  const { keyId } = sealAt(mesh, a);
  const c = mesh.join(C);
  mesh.keep(C);
  b.keep([A, C], true);
  expect(c.has(keyId)).toBe(false);
  a.keep([B, C], true);
  expect(c.has(keyId)).toBe(true);
});
