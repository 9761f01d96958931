// SPDX-License-Identifier: Apache-2.0
/** What operators order of the mesh's CA: another root, another intermediate, an end of trust in one before. */
import { type IntermediateRequest, readOffered } from '../adapters/outbound/identity/intermediate.js';
import { learn } from '../adapters/outbound/identity/root-statements.js';
import { hasteWrite, introductionWrites, ROOT_KIND } from '../application/mesh/roots.js';
import { ACTION } from '../domain/audit/actions.js';
import { isIntermediate, isOffline } from '../domain/identity/issuer.js';
import {
  anchors,
  blockers,
  introductionFault,
  isNewerRoot,
  pendingRoot,
  ROOTS_MAX,
  retirementFault,
  short,
  signingRoot,
  type TrustedRoot,
} from '../domain/identity/trust.js';
import type { CertificateAuthority } from '../ports/identity.js';
import type { MeshUseCases, OfferedEndorsement, OfferedIntermediate } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { type CaDesk, checkPresent, guardedIdentity, holdsNone, introductionOf, signingKey } from './ca-desk.js';
import { intermediateListWrites, retireNow } from './ca-retiring.js';
import { leafView, leavesInUse, namesOf, ownRoot, rootView } from './ca-view.js';
import { renew } from './renewing.js';

type Rotated = ReturnType<MeshUseCases['rotateCa']>;

interface Pace {
  readonly overlapMs: number;
  readonly now: boolean;
}

export interface Offer {
  readonly intermediate: OfferedIntermediate;
  readonly endorsement: OfferedEndorsement | undefined;
  /** Whose key it is for: of no use afterwards. Fails as IdentityError. */
  readonly requested: () => IntermediateRequest;
}

const OFFLINE =
  "the key of the mesh's root is at no node: give it with the command, marcher mesh ca rotate --root-key FILE";

export class CaOrders {
  readonly #desk: CaDesk;
  #making = false;

  constructor(desk: CaDesk) {
    this.#desk = desk;
  }

  /** A root of this node's, or haste of what was introduced before. Throws ApplicationError. */
  async rotate({ overlapMs, now }: Pace, caller: Caller): Rotated {
    const { identity, files } = this.#desk.part;
    const nowMs = Date.now();
    checkPresent(this.#desk.part);
    const pending = pendingRoot(identity.roots, nowMs);
    if (pending !== undefined && this.#isHeld(pending)) {
      if (identity.keys.size === 0) throw holdsNone(this.#desk.part);
      if (!now) throw this.#underWay(pending);
      this.#hasten(pending, caller);
      return { root: rootView(this.#desk.known(), pending), introduced: false };
    }
    const endorsers = this.#endorsers();
    return await this.#alone(async () => {
      const created = await guardedIdentity(() => files.createAuthority(identity.mesh));
      const record = await introductionOf(created, nowMs + overlapMs, now, endorsers);
      return await this.#introduced(created, [[created.certificate.fingerprint, record]], caller);
    });
  }

  /** An intermediate that an operator has brought, with its root where that is new. Throws ApplicationError. */
  async introduce({ intermediate, endorsement, requested }: Offer, { overlapMs, now }: Pace, caller: Caller): Rotated {
    const { part } = this.#desk;
    const { identity, files } = part;
    const nowMs = Date.now();
    checkPresent(part);
    const pending = pendingRoot(identity.roots, nowMs);
    if (pending !== undefined && this.#isHeld(pending)) throw this.#underWay(pending);
    const plannedMs = endorsement?.plannedMs ?? nowMs + overlapMs;
    return await this.#alone(async () => {
      const offered = await guardedIdentity(async () => readOffered(identity.mesh, intermediate, nowMs));
      const rootId = offered.root.certificate.fingerprint;
      const known = identity.roots.find(({ certificate }) => certificate.fingerprint === rootId);
      const given = endorsement === undefined ? [] : [endorsement.by];
      const endorsers = known === undefined && endorsement === undefined ? this.#endorsers() : [];
      if (known !== undefined) this.#checkNewest(known, nowMs);
      this.#checkLater(known === undefined ? [offered.root, offered.intermediate] : [offered.intermediate], nowMs);
      const records = [
        ...(known === undefined
          ? [[rootId, await introductionOf(offered.root, plannedMs, false, endorsers, given)] as const]
          : []),
        [
          offered.intermediate.certificate.fingerprint,
          await introductionOf(offered.intermediate, plannedMs, now, []),
        ] as const,
      ];
      const heard = records.map(([, record]) => record);
      const roots = learn(identity.mesh.id, identity.roots, heard, nowMs);
      if (roots.length < identity.roots.length + records.length) {
        const fix = 'is the time within 30 days, the endorsement by a root that is trusted, and this clock right?';
        throw new ApplicationError('invalid', `what was brought is not believed here: ${fix}`);
      }
      const { root, intermediate: made } = offered;
      const authority = await guardedIdentity(() =>
        files.keepIntermediate(requested(), { ...made, issuers: root.pem }),
      );
      return await this.#introduced(authority, records, caller);
    });
  }

  /** fingerprint: or how it begins. Throws ApplicationError. */
  async retire(
    fingerprint: string,
    { force, revocationList = '' }: Parameters<MeshUseCases['retireRoot']>[1],
    caller: Caller,
  ): ReturnType<MeshUseCases['retireRoot']> {
    const { part } = this.#desk;
    const { identity } = part;
    const found = identity.roots.filter(({ certificate }) => certificate.fingerprint.startsWith(fingerprint));
    const [root] = found;
    if (root === undefined || found.length > 1) {
      const what = root === undefined ? 'there is no root' : 'there is more than one root';
      throw new ApplicationError('not_found', `${what} ${fingerprint}: see marcher mesh ca`);
    }
    const nowMs = Date.now();
    signingKey(part);
    const fault = retirementFault(identity.roots, root, nowMs);
    if (fault !== undefined) throw new ApplicationError('refused', fault);
    const revoked = await guardedIdentity(async () =>
      revocationList === '' ? [] : await intermediateListWrites(part, root, revocationList),
    );
    // Whoever cuts others off does not cut itself off.
    if (ownRoot(part) === root) await guardedIdentity(() => renew(part));
    if (ownRoot(part) === root) throw new ApplicationError('unavailable', "this node's certificate is still of it");
    const cutOff = blockers(root, leavesInUse(part), nowMs);
    if (cutOff.length > 0 && !force) {
      const fix = 'wait until they have been renewed, or cut them off: --force';
      const id = short(root.certificate.fingerprint);
      throw new ApplicationError('refused', `root ${id} has signed the certificates of ${namesOf(cutOff)}: ${fix}`);
    }
    const consequence = cutOff.length === 0 ? '' : `, which cuts off ${namesOf(cutOff)}`;
    await retireNow(this.#desk, root, caller, consequence, revoked);
    const after = identity.roots.find(({ certificate }) => certificate.fingerprint === root.certificate.fingerprint);
    return { root: rootView(this.#desk.known(), after ?? root), cutOff: cutOff.map(leafView) };
  }

  /** One at a time. */
  async #alone(work: () => Rotated): Rotated {
    const fault = introductionFault(this.#desk.part.identity.roots, Date.now());
    if (fault !== undefined) throw new ApplicationError('refused', fault);
    if (this.#making) throw new ApplicationError('conflict', 'a root is being made for another call already');
    this.#making = true;
    try {
      return await work();
    } finally {
      this.#making = false;
    }
  }

  /** records: by fingerprint, the last of them of what this node has the key of. */
  async #introduced(
    authority: CertificateAuthority,
    records: readonly (readonly [string, Parameters<typeof introductionWrites>[1]])[],
    caller: Caller,
  ): Rotated {
    const { part } = this.#desk;
    const { identity, options } = part;
    const { fingerprint } = authority.certificate;
    // Its key is here before anybody hears of it.
    identity.keys = new Map([...identity.keys, [fingerprint, authority]]);
    const what = isIntermediate(authority.certificate) ? 'intermediate' : 'root';
    const [, record] = records.at(-1) ?? [];
    const when = new Date(record?.plannedMs ?? Date.now()).toISOString();
    const message = `${what} ${short(fingerprint)}, signs from ${when}${record?.hastened === true ? ' or earlier' : ''}`;
    const writes = records.flatMap(([id, each]) => introductionWrites(id, each));
    this.#desk.write(caller, `a new ${what} for the mesh`, writes, {
      action: ACTION.rotateCa,
      objects: records.map(([id]) => `${ROOT_KIND}/${id}`),
      message,
    });
    options.log.info({ [what]: short(fingerprint), author: caller.author }, "the mesh's CA is being changed");
    this.#desk.learnNow();
    const made = identity.roots.find(({ certificate }) => certificate.fingerprint === fingerprint);
    if (made === undefined)
      throw new ApplicationError('unavailable', `the new ${what} is not believed here: see the log`);
    return { root: rootView(this.#desk.known(), made), introduced: true };
  }

  #hasten({ certificate: { fingerprint } }: TrustedRoot, caller: Caller): void {
    if (this.#desk.records.get(fingerprint)?.hastened === true) return;
    this.#desk.write(caller, 'the new root is to sign as soon as it can', [hasteWrite(fingerprint)], {
      action: ACTION.rotateCa,
      objects: [`${ROOT_KIND}/${fingerprint}`],
      message: `root ${short(fingerprint)} is to sign as soon as all members that are there trust it`,
    });
    this.#desk.look();
  }

  #isHeld({ certificate: { fingerprint } }: TrustedRoot): boolean {
    const { view, own } = this.#desk.known();
    const there = new Set(view.there);
    return (
      own.keys.includes(fingerprint) ||
      [...view.said].some(([id, { keys }]) => there.has(id) && keys.includes(fingerprint))
    );
  }

  /**
   * Keys by which another root is introduced. That of the one which signs is among them, as those before may be retired by
   * the others already, unless it is lost. Throws ApplicationError.
   */
  #endorsers(): readonly CertificateAuthority[] {
    const { part } = this.#desk;
    const { roots, keys: held } = part.identity;
    const signing = signingRoot(roots, Date.now());
    if (signing !== undefined && held.size > 0 && isIntermediate(signing.certificate)) {
      throw new ApplicationError('refused', OFFLINE);
    }
    if (signing !== undefined && held.size > 0 && !held.has(signing.certificate.fingerprint) && this.#isHeld(signing)) {
      const what = `this node does not have the key of root ${short(signing.certificate.fingerprint)} yet`;
      throw new ApplicationError('refused', `${what}, which signs: try again later, or at a node that has it`);
    }
    const trusted = new Set(this.#desk.known().own.trusted);
    const keys = [...held].flatMap(([id, key]) => (trusted.has(id) && !isIntermediate(key.certificate) ? [key] : []));
    if (keys.length === 0) throw holdsNone(part);
    return keys.slice(0, ROOTS_MAX);
  }

  /** What is of an older root could retire nothing of a newer one. Throws ApplicationError. */
  #checkNewest(root: TrustedRoot, nowMs: number): void {
    const all = anchors(this.#desk.part.identity.roots, nowMs);
    const id = short(root.certificate.fingerprint);
    if (!all.includes(root) || !isOffline(root.certificate)) {
      throw new ApplicationError('refused', `root ${id} is not trusted any more: give the key of one that is`);
    }
    const newer = all.find((other) => isNewerRoot(other, root));
    if (newer === undefined) return;
    const fix = `give the key of ${short(newer.certificate.fingerprint)}, which is newer`;
    throw new ApplicationError('refused', `root ${id} is being replaced: ${fix}`);
  }

  /**
   * Which of two is newer their dates say, here by the clock of whoever has signed them: what is older would be retired by the one
   * that it is to take over from. Throws ApplicationError.
   */
  #checkLater(made: readonly Pick<TrustedRoot, 'certificate'>[], nowMs: number): void {
    const signing = signingRoot(this.#desk.part.identity.roots, nowMs);
    const last = Math.max(
      signing?.certificate.notBeforeMs ?? 0,
      ...anchors(this.#desk.part.identity.roots, nowMs).map(({ certificate }) => certificate.notBeforeMs),
    );
    if (made.every(({ certificate }) => certificate.notBeforeMs > last)) return;
    const fix = 'set the clock of the machine that has signed it, or wait a moment, and give the command again';
    throw new ApplicationError('refused', `what was brought is not newer than what the mesh has: ${fix}`);
  }

  #underWay({ certificate: { fingerprint } }: TrustedRoot): ApplicationError {
    const plannedMs = this.#desk.records.get(fingerprint)?.plannedMs;
    const when = plannedMs === undefined ? 'later' : `from ${new Date(plannedMs).toISOString()}`;
    const fix = 'wait, or let it sign as soon as all members that are there have it: marcher mesh ca rotate --now';
    return new ApplicationError('refused', `root ${short(fingerprint)} was introduced and signs ${when}: ${fix}`);
  }
}
