// SPDX-License-Identifier: Apache-2.0
/**
 * The keys of gossip at this node: which it has, what of their change it does next (domain/mesh/key-rotation.ts), and who
 * else gets them. No key is replicated or logged; one travels to a member that asks for it over TLS of the mesh.
 *
 * A node that hears nobody by gossip may have missed a change: while members are lost it asks one of them after another.
 */
import { newGossipKey } from '../adapters/outbound/identity/new-ids.js';
import { parseHostPort } from '../adapters/outbound/mesh/host-port.js';
import { gossipKeysOf } from '../adapters/outbound/mesh/keys-client.js';
import {
  HELD_KIND,
  heldWrites,
  readHeld,
  readTarget,
  TARGET_KIND,
  targetWrites,
} from '../application/mesh/gossip-keys.js';
import { ACTION } from '../domain/audit/actions.js';
import {
  GOSSIP_KEYS_MAX,
  type GossipKey,
  type GossipKeyring,
  installKey,
  type KeyringVerdict,
  removeKey,
  useKey,
} from '../domain/identity/gossip-keyring.js';
import {
  type HeldKeys,
  isDue,
  isNewer,
  type KeyTarget,
  newTarget,
  nextStep,
  type RotationStep,
  type RotationView,
  stateOf,
} from '../domain/mesh/key-rotation.js';
import { IdentityError } from '../ports/identity.js';
import type { GossipKeysAnswer, GossipKeysView } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import { aliveOthers, seekNow } from './membership.js';
import { isRemoved } from './own-record.js';
import type { Part } from './part.js';

/** What members say of themselves is looked at again, and lost ones are asked. */
const LOOK_MS = 5_000;
/** So long a member that gossip has not heard of since this agent started is waited for. */
const UNHEARD_MS = 60_000;
/** How long the keys before still open what comes in, once all that are there seal by the newest. */
const KEEP_MS = 30_000;
/** Whoever took a node out has so long to make a key before another does. */
const DUE_MS = 10_000;
const ASK_MS = 3_000;
const ASKED_MOST = 3;

export class GossipKeys {
  readonly #part: Part;
  readonly #startedMs = performance.now();
  /** One that seals by the target has been heard of by other ways than gossip. */
  #inUse = '';
  /** What nodes have said when they were asked, until it is replicated: of those that gossip does not reach it is not. */
  readonly #told = new Map<string, HeldKeys>();
  #working = false;
  #again = false;
  #changing: Promise<void> = Promise.resolve();
  #failure = '';
  /** Since when somebody ought to make a key. */
  #dueSinceMs: number | undefined;
  #asked = 0;
  /** Since when there is nothing left to do but to remove the keys before that one. */
  #settled: { readonly keyId: string; readonly sinceMs: number } | undefined;

  constructor(part: Part) {
    this.#part = part;
  }

  /** Looks now, and then every few seconds. */
  start(): void {
    this.look();
    void this.#askLost().finally(() => this.#part.timers.after(LOOK_MS, () => this.start()));
  }

  /** Something has changed of what the next step depends on. */
  changed(kind: string, ids: readonly string[]): void {
    if (kind === HELD_KIND) for (const id of ids) this.#told.delete(id);
    if (kind === TARGET_KIND || kind === HELD_KIND) this.look();
  }

  /** Does what there is to do. One after another; whatever fails is tried again. */
  look(): void {
    if (this.#part.timers.stopped) return;
    this.#again = true;
    if (this.#working) return;
    this.#working = true;
    // Not within whatever has just been written.
    queueMicrotask(() => void this.#workOnce());
  }

  /**
   * The id of the new key, which is in use everywhere some seconds later. caller: absent where it is part of something
   * else. Throws ApplicationError.
   */
  async rotate(caller?: Caller): Promise<string> {
    const { identity, nodes, replication, options } = this.#part;
    if (isRemoved(this.#part)) throw new ApplicationError('refused', 'this node is not in the mesh any more');
    if (!replication.admitted) {
      throw new ApplicationError('unavailable', "this node has not taken over the mesh's state yet: try again later");
    }
    const key = newGossipKey();
    // First here: whoever hears of it asks for it.
    await this.#install(key);
    const target = newTarget(key.id, identity.nodeId, this.#target, nodes.known.values(), Date.now());
    const author = caller?.author ?? 'mesh';
    replication.write(author, 'a new key for gossip', targetWrites(target), () => {
      if (caller === undefined) return;
      tell(this.#part, 'done', { action: ACTION.rotateGossipKey, by: caller, objects: [`GossipKey/${key.id}`] });
    });
    options.log.info({ key: key.id, author }, 'the key of gossip is being changed');
    this.look();
    return key.id;
  }

  /** For another node, known by its certificate. Fails as IdentityError. */
  give(nodeId: string): GossipKeysAnswer {
    const { nodes, keyring } = this.#part;
    if (isRemoved(this.#part)) throw new IdentityError('refused', 'this node is not in the mesh any more');
    if (!nodes.members.has(nodeId)) throw new IdentityError('refused', `node ${nodeId} is not in the mesh (any more)`);
    const target = this.#target;
    if (target?.withheldFrom.includes(nodeId) === true) {
      throw new IdentityError('refused', `node ${nodeId} was taken out of the mesh: it needs another token`);
    }
    return { keys: keyring.keys, primary: keyring.primary, target };
  }

  view(): GossipKeysView {
    const { identity, nodes } = this.#part;
    const view = this.#view();
    const { target, own, held } = view;
    const step = nextStep(view);
    const nameOf = (id: string): string => nodes.members.get(id)?.name ?? id;
    const all = new Map([...held].filter(([id]) => nodes.members.has(id)));
    all.set(identity.nodeId, own);
    const ids = new Set([...all.values()].flatMap(({ keyIds }) => keyIds));
    const newest = target?.keyId ?? own.primary;
    const keys = [...ids].sort((a, b) => Number(b === newest) - Number(a === newest) || (a < b ? -1 : 1));
    return {
      state: stateOf(step),
      target: newest,
      begunMs: target?.createdMs,
      begunBy: target?.createdBy ?? '',
      waitingFor: step.kind === 'wait' ? step.nodes.map(nameOf) : [],
      keys: keys.map((id) => ({
        id,
        primary: own.primary === id,
        heldBy: [...all].flatMap(([node, { keyIds }]) => (keyIds.includes(id) ? [nameOf(node)] : [])).sort(),
        primaryOf: [...all].flatMap(([node, { primary }]) => (primary === id ? [nameOf(node)] : [])).sort(),
      })),
    };
  }

  get #target(): KeyTarget | undefined {
    return readTarget(this.#part.cells);
  }

  get #own(): HeldKeys {
    const { keys, primary } = this.#part.keyring;
    return { keyIds: keys.map(({ id }) => id), primary };
  }

  #view(): RotationView {
    const { identity, nodes, cells } = this.#part;
    const target = this.#target;
    const held = new Map<string, HeldKeys>();
    for (const nodeId of nodes.members.keys()) {
      const said = nodeId === identity.nodeId ? undefined : (this.#told.get(nodeId) ?? readHeld(cells, nodeId));
      if (said !== undefined) held.set(nodeId, said);
    }
    return { self: identity.nodeId, target, own: this.#own, there: this.#there(target), held };
  }

  /** Those that answer; just after the start also those that may. */
  #there(target: KeyTarget | undefined): readonly string[] {
    const there = aliveOthers(this.#part);
    const settled = performance.now() - this.#startedMs > UNHEARD_MS || (target && this.#inUse === target.keyId);
    if (settled === true) return there;
    const { nodes, gossip, identity } = this.#part;
    const heardOf = new Set([identity.nodeId, ...(gossip?.members() ?? []).map(({ nodeId }) => nodeId)]);
    return [...there, ...[...nodes.members.keys()].filter((id) => !heardOf.has(id))];
  }

  async #workOnce(): Promise<void> {
    await this.#work();
    this.#working = false;
    if (this.#again) this.look();
  }

  /** Does not fail: what can't be done now is tried again at the next look. */
  async #work(): Promise<void> {
    try {
      while (this.#again && !this.#part.timers.stopped) {
        this.#again = false;
        if (!this.#part.replication.admitted || isRemoved(this.#part)) return;
        this.#say();
        await this.#rotateIfDue();
        if (await this.#do(nextStep(this.#view()))) this.#again = true;
      }
      this.#failure = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#failure) this.#part.options.log.warn({ reason }, 'the keys of gossip are changed later');
      this.#failure = reason;
    }
  }

  /** Whether it has changed something here. */
  async #do(step: RotationStep): Promise<boolean> {
    if (step.kind !== 'remove') this.#settled = undefined;
    const { log } = this.#part.options;
    switch (step.kind) {
      case 'fetch':
        return await this.#fetch(step.keyId);
      case 'use':
        await this.#change((keyring) => useKey(keyring, step.keyId));
        if (aliveOthers(this.#part).length === 0) void seekNow(this.#part);
        log.info({ key: step.keyId }, 'gossip is sealed by the new key');
        return true;
      case 'remove': {
        if (!this.#isTime()) return false;
        for (const id of step.keyIds) await this.#change((keyring) => removeKey(keyring, id));
        log.info({ keys: step.keyIds }, 'keys of gossip were removed');
        return true;
      }
      default:
        return false;
    }
  }

  #isTime(): boolean {
    const keyId = this.#part.keyring.primary;
    const keepMs = this.#part.options.keepKeysMs ?? KEEP_MS;
    const nowMs = performance.now();
    if (this.#settled?.keyId !== keyId) {
      this.#settled = { keyId, sinceMs: nowMs };
      this.#part.timers.after(keepMs, () => this.look());
    }
    return nowMs - this.#settled.sinceMs >= keepMs;
  }

  /** What the others know of this node's keys is what it has. */
  #say(): void {
    const { identity, cells, replication, options } = this.#part;
    const said = readHeld(cells, identity.nodeId);
    const own = this.#own;
    if (said !== undefined && said.primary === own.primary && said.keyIds.join() === own.keyIds.join()) return;
    replication.write(options.nodeName, 'which keys of gossip it has', heldWrites(identity.nodeId, own));
  }

  /** Whoever takes a node out makes the key; when that was lost on the way, and for nodes that leave, another does. */
  async #rotateIfDue(): Promise<void> {
    const { identity, nodes } = this.#part;
    const view = { self: identity.nodeId, target: this.#target, there: aliveOthers(this.#part) };
    const nowMs = performance.now();
    if (!isDue(view, nodes.known.values(), Date.now())) this.#dueSinceMs = undefined;
    else if (this.#dueSinceMs === undefined) this.#dueSinceMs = nowMs;
    else if (nowMs - this.#dueSinceMs > DUE_MS) await this.rotate();
  }

  /** From those that say they have it, those that answer first, and from the one that made it. */
  async #fetch(keyId: string): Promise<boolean> {
    const { held, target } = this.#view();
    const alive = new Set(aliveOthers(this.#part));
    const holders = [...held].flatMap(([id, { keyIds }]) => (keyIds.includes(keyId) ? [id] : []));
    const sources = new Set([...holders, ...(target === undefined ? [] : [target.createdBy]), ...alive]);
    const inOrder = [...sources].sort((a, b) => Number(alive.has(b)) - Number(alive.has(a)));
    const reasons: string[] = [];
    for (const nodeId of inOrder.slice(0, ASKED_MOST)) {
      const answer = await this.#ask(nodeId, reasons);
      const key = answer?.keys.find(({ id }) => id === keyId);
      if (key === undefined) continue;
      await this.#install(key);
      return true;
    }
    if (reasons.length > 0) throw new IdentityError('io', reasons.join('; '));
    return false;
  }

  /** A member that gossip does not reach may seal by a key that this node does not know. */
  async #askLost(): Promise<void> {
    const { nodes, identity, replication } = this.#part;
    if (!replication.admitted || isRemoved(this.#part)) return;
    const alive = new Set(aliveOthers(this.#part));
    const lost = [...nodes.members.keys()].filter((id) => id !== identity.nodeId && !alive.has(id)).sort();
    const nodeId = lost[this.#asked++ % lost.length];
    const answer = nodeId === undefined ? undefined : await this.#ask(nodeId, []);
    if (answer?.target === undefined || this.#part.timers.stopped) return;
    try {
      await this.#learn(answer, answer.target);
    } catch (error) {
      this.#part.options.log.warn({ reason: String(error) }, 'a key of gossip that others have is not installed');
    }
  }

  async #learn({ keys, primary }: GossipKeysAnswer, target: KeyTarget): Promise<void> {
    const key = keys.find(({ id }) => id === target.keyId);
    const own = this.#target;
    if (key === undefined || (own?.keyId !== target.keyId && !isNewer(target, own))) return;
    // First that: it names whom the key is withheld from here, too.
    if (own?.keyId !== target.keyId) {
      const { replication, options } = this.#part;
      const why = 'a newer key of gossip, of members that were apart';
      replication.write(options.nodeName, why, targetWrites(target));
    }
    await this.#install(key);
    if (primary === target.keyId) this.#inUse = target.keyId;
    this.look();
  }

  async #ask(nodeId: string, reasons: string[]): Promise<GossipKeysAnswer | undefined> {
    const { nodes, tls } = this.#part;
    const target = parseHostPort(nodes.members.get(nodeId)?.meshAddress ?? '');
    if (target === undefined) return undefined;
    try {
      const answer = await gossipKeysOf({ target, holder: nodeId, mesh: tls, timeoutMs: ASK_MS });
      this.#told.set(nodeId, { keyIds: answer.keys.map(({ id }) => id), primary: answer.primary });
      return answer;
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error;
      reasons.push(error.message);
      return undefined;
    }
  }

  async #install(key: GossipKey): Promise<void> {
    const target = this.#target?.keyId ?? '';
    await this.#change((keyring) => installKey(withRoom(keyring, target), key));
  }

  /** On disk, then in force, and only then as what this node says to have. One after another. */
  async #change(change: (keyring: GossipKeyring) => KeyringVerdict): Promise<void> {
    const turn = this.#changing.then(async () => {
      const { keyring, files, gossip } = this.#part;
      const verdict = change(keyring);
      if (verdict.kind === 'refused') throw new ApplicationError('refused', verdict.reason);
      if (verdict.keyring === keyring) return;
      files.saveKeyring(verdict.keyring);
      await gossip?.setKeyring(verdict.keyring);
      this.#part.keyring = verdict.keyring;
    });
    this.#changing = turn.catch(() => undefined);
    await turn;
  }
}

/** Of too many keys that are neither in use nor to be, the oldest goes: whoever still seals by it gets a newer one. */
function withRoom(keyring: GossipKeyring, target: string): GossipKeyring {
  const { keys, primary } = keyring;
  if (keys.length < GOSSIP_KEYS_MAX) return keyring;
  const oldest = keys.find(({ id }) => id !== primary && id !== target);
  return { primary, keys: keys.filter((key) => key !== oldest) };
}
