// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh's CA at this node: which roots it trusts, whose keys it holds, and what of a change it does next
 * (domain/mesh/root-rotation.ts). What was said of roots comes with what is replicated; while this node and another do not
 * believe each other's certificates, it is asked for as a stranger would, since what is true of it is proved by signatures. What
 * operators order is in ca-orders.ts.
 */
import { learn } from '../adapters/outbound/identity/root-statements.js';
import { authorityKeyOf, rootRecordsOf } from '../adapters/outbound/mesh/roots-client.js';
import {
  HELD_ROOTS_KIND,
  heldRootsWrites,
  ROOT_KIND,
  readHeldRoots,
  readRootRecords,
  signingWrite,
} from '../application/mesh/roots.js';
import type { NodeCondition } from '../application/node.js';
import { nodeIdOf } from '../domain/identity/names.js';
import type { RootRecord, RootStatement } from '../domain/identity/root-statement.js';
import {
  anchors,
  inForce,
  issuers,
  short,
  signingRoot,
  type TrustedRoot,
  trustedRoots,
} from '../domain/identity/trust.js';
import { NODE_KIND } from '../domain/mesh/node-record.js';
import { type CaStep, type CaView, dueSteps, type HeldRoots } from '../domain/mesh/root-rotation.js';
import type { CellWrite, NodeId } from '../domain/replication/contract.js';
import { IdentityError } from '../ports/identity.js';
import type { MeshCaView } from '../ports/mesh.js';
import type { Caller } from '../ports/use-cases.js';
import { addressOf } from './addresses.js';
import { tell } from './auditing.js';
import { bare, type CaDesk, type ToldOfRoot } from './ca-desk.js';
import { CaOrders } from './ca-orders.js';
import { retireNow } from './ca-retiring.js';
import { caConditions, caView, type Known, leavesInUse, ownRoot, retiredReason } from './ca-view.js';
import { verifyBy } from './changes.js';
import { aliveOthers } from './membership.js';
import { isRemoved, sayOwn } from './own-record.js';
import type { Part } from './part.js';
import { renewInTime } from './renewing.js';
import { listsChanged, revokeWanted, updateTls } from './revoking.js';

/** Time passes, and members come and go. */
const LOOK_MS = 5_000;
/** So long a member that gossip has not heard of since this agent started is waited for. */
const UNHEARD_MS = 60_000;
/** Certificates that were given by the root before a moment ago are to be known here before it is retired. */
const SETTLE_MS = 600_000;
const ASK_MS = 5_000;
/** Between two questions to nodes that are not believed. */
const DISTRUST_PAUSE_MS = 5_000;
const ASKED_MOST = 3;
/** After nobody gave a key, or it could not be opened. */
const FETCH_PAUSE_MS = 3_000;

export class MeshCa {
  readonly #part: Part;
  readonly #desk: CaDesk;
  readonly #orders: CaOrders;
  readonly #startedMs = performance.now();
  #records: ReadonlyMap<string, RootRecord>;
  /** Heard of elsewhere than in what is replicated. */
  #told: readonly RootRecord[] = [];
  /** What is in force here follows these. */
  #applied: string;
  #working = false;
  #again = false;
  #failure = '';
  #keyFailure = '';
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking = false;
  #fetchAgainMs = Number.NEGATIVE_INFINITY;

  constructor(part: Part) {
    this.#part = part;
    this.#records = readRootRecords(part.cells);
    this.#applied = trustKey(part.identity.roots, Date.now());
    // As they are when somebody looks.
    const records = (): ReadonlyMap<string, RootRecord> => this.#records;
    this.#desk = {
      part,
      get records() {
        return records();
      },
      known: () => this.#known(),
      learnNow: () => this.#learnNow(),
      look: () => this.look(),
      write: (...what) => this.#write(...what),
    };
    this.#orders = new CaOrders(this.#desk);
  }

  /** Looks now, and then every few seconds. */
  start(): void {
    this.look();
    this.#part.timers.after(LOOK_MS, () => this.start());
  }

  changed(kind: string): void {
    if (kind === ROOT_KIND) this.#records = readRootRecords(this.#part.cells);
    if (kind === ROOT_KIND || kind === HELD_ROOTS_KIND || kind === NODE_KIND) this.look();
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

  /** For anybody who asks: of each root that this node knows what proves it. */
  records(): readonly RootRecord[] {
    return this.#part.identity.roots.map((root) => this.#records.get(root.certificate.fingerprint) ?? bare(root));
  }

  /** For another node, known by its certificate. root: fingerprint. Fails as IdentityError. */
  give(nodeId: string, root: string): string {
    const { nodes, identity, files, options } = this.#part;
    if (isRemoved(this.#part)) throw new IdentityError('refused', 'this node is not in the mesh any more');
    if (nodes.members.get(nodeId)?.role !== 'authority') {
      throw new IdentityError('refused', `node ${nodeId} is not one that holds a key of the CA`);
    }
    if (!identity.keys.has(root)) throw new IdentityError('missing', 'this node does not hold the key of that root');
    options.log.info({ node: nodeId, root: short(root) }, "the CA's key was given to a node, sealed");
    return files.sealedAuthority(root);
  }

  /** That node and this one do not believe each other's certificates. */
  distrusted(node: NodeId): void {
    const nowMs = performance.now();
    if (this.#asking || nowMs - this.#askedMs < DISTRUST_PAUSE_MS || this.#part.timers.stopped) return;
    const target = addressOf(this.#part, node);
    const own = ownRoot(this.#part);
    // Then nothing that it could be told helps.
    if (target === undefined || (own !== undefined && own.retiredAtMs !== undefined)) return;
    this.#askedMs = nowMs;
    this.#asking = true;
    void rootRecordsOf({ target, timeoutMs: ASK_MS })
      .then(
        (records) => {
          this.#told = records;
          this.look();
        },
        (error: unknown) => {
          const fields = { peer: nodeIdOf(node), reason: error instanceof Error ? error.message : String(error) };
          this.#part.options.log.debug(fields, 'roots of the mesh could not be asked for');
        },
      )
      .finally(() => {
        this.#asking = false;
      });
  }

  // What operators ask.

  rotate(...order: Parameters<CaOrders['rotate']>): ReturnType<CaOrders['rotate']> {
    return this.#orders.rotate(...order);
  }

  introduce(...order: Parameters<CaOrders['introduce']>): ReturnType<CaOrders['introduce']> {
    return this.#orders.introduce(...order);
  }

  retire(...order: Parameters<CaOrders['retire']>): ReturnType<CaOrders['retire']> {
    return this.#orders.retire(...order);
  }

  view(): MeshCaView {
    return caView(this.#known());
  }

  conditions(): NodeCondition[] {
    return caConditions(this.#known(), this.#keyFailure);
  }

  // What is known.

  get #own(): HeldRoots {
    const { roots, keys } = this.#part.identity;
    const trusted = trustedRoots(roots, Date.now()).map(({ certificate }) => certificate.fingerprint);
    return { trusted: trusted.sort(), keys: trusted.filter((id) => keys.has(id)) };
  }

  #known(): Known {
    const { identity, nodes, cells, options } = this.#part;
    const said = new Map<string, HeldRoots>();
    for (const nodeId of nodes.members.keys()) {
      const held = nodeId === identity.nodeId ? undefined : readHeldRoots(cells, nodeId);
      if (held !== undefined) said.set(nodeId, held);
    }
    const view: CaView = {
      nowMs: Date.now(),
      roots: identity.roots,
      plans: this.#records,
      keys: new Set(identity.keys.keys()),
      there: this.#there(),
      said,
      leaves: leavesInUse(this.#part),
      settleMs: options.settleRootsMs ?? SETTLE_MS,
    };
    return { part: this.#part, view, own: this.#own, records: this.#records };
  }

  /** Those that answer; just after the start also those that may. */
  #there(): readonly string[] {
    const there = aliveOthers(this.#part);
    if (performance.now() - this.#startedMs > UNHEARD_MS) return there;
    const { nodes, gossip, identity } = this.#part;
    const heardOf = new Set([identity.nodeId, ...(gossip?.members() ?? []).map(({ nodeId }) => nodeId)]);
    return [...there, ...[...nodes.members.keys()].filter((id) => !heardOf.has(id))];
  }

  // What is done.

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
        this.#learnNow();
        if (!this.#part.replication.admitted || isRemoved(this.#part)) return;
        this.#say();
        if (this.#isSettled()) continue;
        for (const step of dueSteps(this.#known().view)) if (await this.#do(step)) this.#again = true;
      }
      this.#failure = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#failure) this.#part.options.log.warn({ reason }, "what the mesh's CA needs is done later");
      this.#failure = reason;
    }
  }

  /** As nearly always: what all members have said is not read then. */
  #isSettled(): boolean {
    const { roots, keys, authority } = this.#part.identity;
    const nowMs = Date.now();
    const alone = issuers(roots, nowMs).length === 1 && anchors(roots, nowMs).length === 1;
    return alone && (keys.size === 0 || authority !== undefined);
  }

  /** What this node has heard is in force. */
  #learnNow(): void {
    const { identity, files, timers, options } = this.#part;
    const nowMs = Date.now();
    const heard = [...this.#records.values(), ...this.#told];
    const roots = learn(identity.mesh.id, identity.roots, heard, nowMs);
    if (roots !== identity.roots) {
      identity.roots = roots;
      for (const { retiredAtMs = nowMs } of roots) {
        if (retiredAtMs > nowMs) timers.after(Math.min(retiredAtMs - nowMs, LOOK_MS), () => this.look());
      }
      try {
        files.saveRoots(roots);
      } catch (error) {
        // What was replicated is heard again after a start.
        options.log.warn({ reason: String(error) }, 'the roots of the mesh could not be written');
      }
    }
    const key = trustKey(roots, nowMs);
    if (key === this.#applied) return;
    this.#apply(nowMs);
    this.#applied = key;
  }

  /** Listeners, links, operators' TLS and what frames are verified by, all without a restart. */
  #apply(nowMs: number): void {
    const { identity, options } = this.#part;
    const trusted = trustedRoots(identity.roots, nowMs);
    const signing = signingRoot(identity.roots, nowMs)?.certificate.fingerprint ?? '';
    identity.authority = identity.keys.get(signing);
    if (identity.authority !== undefined) identity.authorityFault = '';
    options.log.info(
      { trusted: trusted.map(({ certificate }) => short(certificate.fingerprint)), signs: short(signing) },
      'the roots of the mesh have changed',
    );
    verifyBy(this.#part);
    updateTls(this.#part);
    void listsChanged(this.#part);
    void revokeWanted(this.#part);
    renewInTime(this.#part);
    void this.#part.certificates.look();
    sayOwn(this.#part);
    const own = ownRoot(this.#part);
    if (own?.retiredAtMs !== undefined && !inForce(own, nowMs)) {
      options.log.error({ reason: retiredReason(own.retiredAtMs) }, 'this node is not believed by others any more');
    }
  }

  /** What the others know of this node's roots is what it has. */
  #say(): void {
    const { identity, cells, replication, options } = this.#part;
    const said = readHeldRoots(cells, identity.nodeId);
    const own = this.#own;
    // A mesh that never changed its CA need not hear that from each node.
    if (said === undefined && identity.roots.length === 1) return;
    if (said?.trusted.join() === own.trusted.join() && said.keys.join() === own.keys.join()) return;
    replication.write(options.nodeName, 'which roots it trusts', heldRootsWrites(identity.nodeId, own));
  }

  /** Whether it has changed something here. */
  async #do({ kind, root: fingerprint }: CaStep): Promise<boolean> {
    const { identity, replication, options } = this.#part;
    const root = identity.roots.find(({ certificate }) => certificate.fingerprint === fingerprint);
    if (root === undefined) return false;
    if (kind === 'fetch') {
      if (performance.now() < this.#fetchAgainMs) return false;
      return await this.#fetch(fingerprint);
    }
    if (kind === 'retire') {
      await retireNow(this.#desk, root, undefined, '');
      return true;
    }
    const statement: RootStatement = { kind: 'sign', root: fingerprint, atMs: Date.now() };
    const by = await identity.keys.get(fingerprint)?.say(statement);
    if (by === undefined) return false;
    const write = signingWrite(fingerprint, { atMs: statement.atMs, by });
    replication.write('mesh', `root ${short(fingerprint)} signs`, [write]);
    options.log.info({ root: short(fingerprint) }, 'the new root of the mesh signs from now on');
    return true;
  }

  /** From those that say they hold it, those that answer first. */
  async #fetch(fingerprint: string): Promise<boolean> {
    const { identity, files, nodes, cells, tls } = this.#part;
    const alive = new Set(aliveOthers(this.#part));
    const holders = [...nodes.members.keys()]
      .filter((id) => readHeldRoots(cells, id)?.keys.includes(fingerprint) === true)
      .sort((a, b) => Number(alive.has(b)) - Number(alive.has(a)));
    let failure = `no member that is there is known to hold the key of root ${short(fingerprint)}`;
    for (const holder of holders.slice(0, ASKED_MOST)) {
      const target = addressOf(this.#part, BigInt(`0x${holder}`));
      if (target === undefined) continue;
      try {
        const asked = { target, holder, root: fingerprint, mesh: tls, timeoutMs: ASK_MS };
        const authority = await files.adoptAuthority(await authorityKeyOf(asked));
        if (authority.certificate.fingerprint !== fingerprint) throw new IdentityError('invalid', 'it is another key');
        identity.keys = new Map([...identity.keys, [fingerprint, authority]]);
        this.#keyFailure = '';
        this.#apply(Date.now());
        return true;
      } catch (error) {
        if (!(error instanceof IdentityError)) throw error;
        failure = `this node does not have the key of root ${short(fingerprint)}, and can't sign by it: ${error.message}`;
      }
    }
    this.#keyFailure = failure;
    // That another has it is heard of, and looked at, at once.
    if (holders.length > 0) this.#fetchAgainMs = performance.now() + FETCH_PAUSE_MS;
    return false;
  }

  #write(caller: Caller | undefined, message: string, writes: readonly CellWrite[], told: ToldOfRoot): void {
    this.#part.replication.write(caller?.author ?? 'mesh', message, writes, () => {
      tell(this.#part, 'done', { ...told, by: caller ?? { author: 'mesh' } });
    });
  }
}

/** What all follows from: which roots are trusted, and which of them signs. */
function trustKey(roots: readonly TrustedRoot[], nowMs: number): string {
  const trusted = trustedRoots(roots, nowMs).map(({ certificate }) => certificate.fingerprint);
  return `${signingRoot(roots, nowMs)?.certificate.fingerprint ?? ''} of ${trusted.sort().join()}`;
}
