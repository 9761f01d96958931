// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh's CA at this node: which roots it trusts, whose keys it holds, and what of a change it does next
 * (domain/mesh/root-rotation.ts). What was said of roots comes with what is replicated; while this node and another do not
 * believe each other's certificates, it is asked for as a stranger would, since what is true of it is proved by signatures.
 */
import { X509Certificate } from 'node:crypto';
import { listIssuer } from '../adapters/outbound/identity/revocation-list.js';
import { learn } from '../adapters/outbound/identity/root-statements.js';
import { authorityKeyOf, rootRecordsOf } from '../adapters/outbound/mesh/roots-client.js';
import { listId, listRemoval, listWrites, readLists } from '../application/mesh/revocations.js';
import {
  HELD_ROOTS_KIND,
  hasteWrite,
  heldRootsWrites,
  introductionWrites,
  ROOT_KIND,
  readHeldRoots,
  readRootRecords,
  retirementWrite,
  rootRemoval,
  signingWrite,
} from '../application/mesh/roots.js';
import type { NodeCondition } from '../application/node.js';
import { ACTION } from '../domain/audit/actions.js';
import { nodeIdOf } from '../domain/identity/names.js';
import { nextCrlNumber } from '../domain/identity/revocation.js';
import type { RootRecord, RootStatement } from '../domain/identity/root-statement.js';
import {
  blockers,
  FORGET_DAYS,
  inForce,
  introductionFault,
  isNewerRoot,
  pendingRoot,
  ROOTS_MAX,
  retirementFault,
  short,
  signingRoot,
  type TrustedRoot,
  trustedRoots,
} from '../domain/identity/trust.js';
import { NODE_KIND } from '../domain/mesh/node-record.js';
import { type CaStep, type CaView, dueSteps, type HeldRoots } from '../domain/mesh/root-rotation.js';
import type { CellWrite, NodeId } from '../domain/replication/contract.js';
import { type CertificateAuthority, IdentityError } from '../ports/identity.js';
import type { MeshCaView, MeshUseCases } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { addressOf } from './addresses.js';
import { tell } from './auditing.js';
import {
  caConditions,
  caView,
  type Known,
  leafView,
  leavesInUse,
  namesOf,
  ownRoot,
  retiredReason,
  rootView,
} from './ca-view.js';
import { verifyBy } from './changes.js';
import { aliveOthers } from './membership.js';
import { isRemoved, sayOwn } from './own-record.js';
import { applicationError, type Part } from './part.js';
import { renew, renewInTime } from './renewing.js';
import { listsChanged, revokeWanted, takenBack, updateTls } from './revoking.js';

/** Time passes, and members come and go. */
const LOOK_MS = 5_000;
/** So long a member that gossip has not heard of since this agent started is waited for. */
const UNHEARD_MS = 60_000;
/** Certificates that were given by the root before a moment ago are to be known here before it is retired. */
const SETTLE_MS = 600_000;
/** All that are there hear of it before connections that were opened by certificates of it are closed. */
const FAREWELL_MS = 2_000;
const ASK_MS = 5_000;
/** Between two questions to nodes that are not believed. */
const DISTRUST_PAUSE_MS = 5_000;
const ASKED_MOST = 3;
/** After nobody gave a key, or it could not be opened. */
const FETCH_PAUSE_MS = 3_000;
const DAY_MS = 86_400_000;

export class MeshCa {
  readonly #part: Part;
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
  #making = false;

  constructor(part: Part) {
    this.#part = part;
    this.#records = readRootRecords(part.cells);
    this.#applied = trustKey(part.identity.roots, Date.now());
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

  view(): MeshCaView {
    return caView(this.#known());
  }

  conditions(): NodeCondition[] {
    return caConditions(this.#known(), this.#keyFailure);
  }

  /** Throws ApplicationError. */
  async rotate(
    { overlapMs, now }: Parameters<MeshUseCases['rotateCa']>[0],
    caller: Caller,
  ): ReturnType<MeshUseCases['rotateCa']> {
    const { identity } = this.#part;
    const endorsers = this.#endorsers();
    const nowMs = Date.now();
    const pending = pendingRoot(identity.roots, nowMs);
    if (pending !== undefined && this.#isHeld(pending)) {
      if (!now) throw this.#underWay(pending);
      this.#hasten(pending, caller);
      return { root: rootView(this.#known(), pending), introduced: false };
    }
    const fault = introductionFault(identity.roots, nowMs);
    if (fault !== undefined) throw new ApplicationError('refused', fault);
    if (this.#making) throw new ApplicationError('conflict', 'a root is being made for another call already');
    this.#making = true;
    try {
      const root = await this.#introduce(nowMs + overlapMs, now, endorsers, caller);
      return { root: rootView(this.#known(), root), introduced: true };
    } finally {
      this.#making = false;
    }
  }

  async #introduce(
    plannedMs: number,
    now: boolean,
    endorsers: readonly CertificateAuthority[],
    caller: Caller,
  ): Promise<TrustedRoot> {
    const { identity, files, options } = this.#part;
    const created = await guardedIdentity(() => files.createAuthority(identity.mesh));
    const { fingerprint } = created.certificate;
    const record = await introductionOf(created, plannedMs, now, endorsers);
    // Its key is here before anybody hears of it.
    identity.keys = new Map([...identity.keys, [fingerprint, created]]);
    const message = `root ${short(fingerprint)}, signs from ${new Date(plannedMs).toISOString()}${now ? ' or earlier' : ''}`;
    this.#write(caller, 'a new root for the mesh', introductionWrites(fingerprint, record), {
      action: ACTION.rotateCa,
      objects: [`${ROOT_KIND}/${fingerprint}`],
      message,
    });
    options.log.info({ root: short(fingerprint), author: caller.author }, "the mesh's CA is being changed");
    this.#learnNow();
    const made = identity.roots.find(({ certificate }) => certificate.fingerprint === fingerprint);
    if (made === undefined) throw new ApplicationError('unavailable', 'the new root is not believed here: see the log');
    return made;
  }

  /** fingerprint: or how it begins. Throws ApplicationError. */
  async retire(
    fingerprint: string,
    { force }: { readonly force: boolean },
    caller: Caller,
  ): ReturnType<MeshUseCases['retireRoot']> {
    const { identity } = this.#part;
    const found = identity.roots.filter(({ certificate }) => certificate.fingerprint.startsWith(fingerprint));
    const [root] = found;
    if (root === undefined || found.length > 1) {
      const what = root === undefined ? 'there is no root' : 'there is more than one root';
      throw new ApplicationError('not_found', `${what} ${fingerprint}: see marcher mesh ca`);
    }
    const nowMs = Date.now();
    this.#signingKey();
    const fault = retirementFault(identity.roots, root, nowMs);
    if (fault !== undefined) throw new ApplicationError('refused', fault);
    // Whoever cuts others off does not cut itself off.
    if (ownRoot(this.#part) === root) await guardedIdentity(() => renew(this.#part));
    if (ownRoot(this.#part) === root)
      throw new ApplicationError('unavailable', "this node's certificate is still of it");
    const cutOff = blockers(root, leavesInUse(this.#part), nowMs);
    if (cutOff.length > 0 && !force) {
      const fix = 'wait until they have been renewed, or cut them off: --force';
      const id = short(root.certificate.fingerprint);
      throw new ApplicationError('refused', `root ${id} has signed the certificates of ${namesOf(cutOff)}: ${fix}`);
    }
    await this.#retire(root, caller, cutOff.length === 0 ? '' : `, which cuts off ${namesOf(cutOff)}`);
    const after = this.#part.identity.roots.find(
      ({ certificate }) => certificate.fingerprint === root.certificate.fingerprint,
    );
    return { root: rootView(this.#known(), after ?? root), cutOff: cutOff.map(leafView) };
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

  #isHeld({ certificate: { fingerprint } }: TrustedRoot): boolean {
    const { view, own } = this.#known();
    const there = new Set(view.there);
    return (
      own.keys.includes(fingerprint) ||
      [...view.said].some(([id, { keys }]) => there.has(id) && keys.includes(fingerprint))
    );
  }

  /** Throws ApplicationError where this node does not sign. */
  #signingKey(): CertificateAuthority {
    this.#present();
    const { authority } = this.#part.identity;
    if (authority === undefined) throw this.#holdsNone();
    return authority;
  }

  /**
   * Keys by which another root is introduced. That of the one which signs is among them, as those before may be retired by
   * the others already, unless it is lost. Throws ApplicationError.
   */
  #endorsers(): readonly CertificateAuthority[] {
    this.#present();
    const { roots, keys: held } = this.#part.identity;
    const signing = signingRoot(roots, Date.now());
    if (signing !== undefined && held.size > 0 && !held.has(signing.certificate.fingerprint) && this.#isHeld(signing)) {
      const what = `this node does not have the key of root ${short(signing.certificate.fingerprint)} yet`;
      throw new ApplicationError('refused', `${what}, which signs: try again later, or at a node that has it`);
    }
    const trusted = new Set(this.#own.trusted);
    const keys = [...held].flatMap(([id, key]) => (trusted.has(id) ? [key] : []));
    if (keys.length === 0) throw this.#holdsNone();
    return keys.slice(0, ROOTS_MAX);
  }

  #present(): void {
    if (isRemoved(this.#part)) throw new ApplicationError('refused', 'this node is not in the mesh any more');
    if (this.#part.replication.admitted) return;
    throw new ApplicationError('unavailable', "this node has not taken over the mesh's state yet: try again later");
  }

  #holdsNone(): ApplicationError {
    const { members } = this.#part.nodes;
    const names = [...members.values()].filter(({ role }) => role === 'authority').map(({ name }) => name);
    const who = names.length === 0 ? 'none is known that does' : `these do: ${names.slice(0, 5).join(', ')}`;
    return new ApplicationError('refused', `this node does not hold the key of the mesh's CA; ${who}`);
  }

  #underWay({ certificate: { fingerprint } }: TrustedRoot): ApplicationError {
    const plannedMs = this.#records.get(fingerprint)?.plannedMs;
    const when = plannedMs === undefined ? 'later' : `from ${new Date(plannedMs).toISOString()}`;
    const fix = 'wait, or let it sign as soon as all members that are there have it: marcher mesh ca rotate --now';
    return new ApplicationError('refused', `root ${short(fingerprint)} was introduced and signs ${when}: ${fix}`);
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
    return trustedRoots(roots, Date.now()).length === 1 && (keys.size === 0 || authority !== undefined);
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
      await this.#retire(root, undefined, '');
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

  #hasten({ certificate: { fingerprint } }: TrustedRoot, caller: Caller): void {
    if (this.#records.get(fingerprint)?.hastened === true) return;
    this.#write(caller, 'the new root is to sign as soon as it can', [hasteWrite(fingerprint)], {
      action: ACTION.rotateCa,
      objects: [`${ROOT_KIND}/${fingerprint}`],
      message: `root ${short(fingerprint)} is to sign as soon as all members that are there trust it`,
    });
    this.look();
  }

  /** With it goes what it alone had said: revocations are in a list of the root that signs from then on. */
  async #retire(root: TrustedRoot, caller: Caller | undefined, consequence: string): Promise<void> {
    const { identity, revocations, cells, options } = this.#part;
    const { fingerprint, keyId } = root.certificate;
    const signing = this.#signingKey();
    const nowMs = Date.now();
    const statement: RootStatement = { kind: 'retire', root: fingerprint, atMs: nowMs + FAREWELL_MS };
    const word = { atMs: statement.atMs, by: await signing.say(statement) };
    const record = this.#records.get(fingerprint);
    const lists = [...readLists(cells)].filter(([, pem]) => listIssuer(pem) === keyId);
    const revoked = takenBack(this.#part, revocations);
    const number = nextCrlNumber(0n, nowMs, identity.nodeId);
    const list = revoked.size === 0 ? undefined : await signing.signRevocations(revoked, number, nowMs);
    const old = [...this.#records].filter(([id, { retirement }]) => {
      return id !== fingerprint && retirement !== undefined && nowMs - retirement.atMs > FORGET_DAYS * DAY_MS;
    });
    const writes = [
      ...(record === undefined
        ? introductionWrites(fingerprint, { ...bare(root), retirement: word })
        : [retirementWrite(fingerprint, word)]),
      ...(list === undefined ? [] : listWrites(listId(identity.nodeId, signing.certificate.fingerprint), list.pem)),
      ...lists.map(([id]) => listRemoval(id)),
      ...old.map(([id]) => rootRemoval(id)),
    ];
    const message = `root ${short(fingerprint)} is retired${consequence}`;
    const told = { action: ACTION.retireRoot, objects: [`${ROOT_KIND}/${fingerprint}`], message };
    this.#write(caller, message, writes, told);
    options.log.info(
      { root: short(fingerprint), author: caller?.author ?? 'mesh' },
      `a root of the mesh is retired${consequence}`,
    );
    this.#learnNow();
  }

  #write(
    caller: Caller | undefined,
    message: string,
    writes: readonly CellWrite[],
    told: { readonly action: string; readonly objects: string[]; readonly message: string },
  ): void {
    this.#part.replication.write(caller?.author ?? 'mesh', message, writes, () => {
      tell(this.#part, 'done', { ...told, by: caller ?? { author: 'mesh' } });
    });
  }
}

/** PEM, all that are trusted now, the one that signs first. */
export function bundleOf(roots: readonly TrustedRoot[], nowMs: number): string[] {
  const signing = signingRoot(roots, nowMs);
  const others = trustedRoots(roots, nowMs).filter((root) => root !== signing);
  const ordered = others.sort((one, other) => (isNewerRoot(one, other) ? -1 : 1));
  return [...(signing === undefined ? [] : [signing]), ...ordered].map(({ pem }) => pem);
}

async function introductionOf(
  { certificate, pem }: CertificateAuthority,
  plannedMs: number,
  hastened: boolean,
  endorsers: readonly CertificateAuthority[],
): Promise<RootRecord> {
  const statement: RootStatement = { kind: 'introduce', root: certificate.fingerprint, atMs: plannedMs };
  const endorsements = await Promise.all(endorsers.map((one) => one.say(statement)));
  return { certificate: derOf(pem), plannedMs, endorsements, hastened, signing: undefined, retirement: undefined };
}

/** What all follows from: which roots are trusted, and which of them signs. */
function trustKey(roots: readonly TrustedRoot[], nowMs: number): string {
  const trusted = trustedRoots(roots, nowMs).map(({ certificate }) => certificate.fingerprint);
  return `${signingRoot(roots, nowMs)?.certificate.fingerprint ?? ''} of ${trusted.sort().join()}`;
}

/** Of a root that nobody has introduced: a mesh's first, or one that came with a join. */
function bare({ certificate, pem }: TrustedRoot): RootRecord {
  const words = { endorsements: [], hastened: false, signing: undefined, retirement: undefined };
  return { certificate: derOf(pem), plannedMs: certificate.notBeforeMs, ...words };
}

function derOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw);
}

async function guardedIdentity<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw applicationError(error);
  }
}
