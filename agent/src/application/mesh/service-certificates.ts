// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of services, with their keys: issued where the CA's key is or imported anywhere, kept by all nodes, renewed at
 * half of their life by one that signs. A key is in the clear only while a node makes, takes, writes or gives it.
 */
import { create } from '@bufbuild/protobuf';
import { ViolationSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { ACTION } from '../../domain/audit/actions.js';
import { certificateNameFault } from '../../domain/identity/issue.js';
import { wholeSeconds } from '../../domain/identity/lifetime.js';
import type { Revocation, RevocationReason, Revocations } from '../../domain/identity/revocation.js';
import { unite } from '../../domain/identity/revocation.js';
import { readServiceNames } from '../../domain/identity/service-names.js';
import { renewalOf, type TrustedRoot } from '../../domain/identity/trust.js';
import {
  CERTIFICATE_LIMITS,
  certificateRemoval,
  certificateWrites,
  type EarlierCertificate,
  keyAbout,
  REVOKED_CERTIFICATE_KIND,
  renewalTurn,
  renewsAtMs,
  revocationRemoval,
  revocationWrites,
  SERVICE_CERTIFICATE_KIND,
  type ServiceCertificateRecord,
  type ServiceRevocation,
  standingOf,
  unpackCertificate,
  unpackRevocation,
} from '../../domain/mesh/service-certificate.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import type {
  CertificateTools,
  CertificateUseCases,
  ChainFacts,
  ImportRequest,
  IssueRequest,
  ServiceCertificate,
} from '../../ports/certificates.js';
import type { CertificateAuthority } from '../../ports/identity.js';
import { ApplicationError, type Caller } from '../../ports/use-cases.js';
import type { MeshSecrets, Sealed } from './secrets.js';

export interface ServiceCertificatesOptions {
  readonly cells: ReplicaStore;
  readonly tools: CertificateTools;
  readonly secrets: Pick<MeshSecrets, 'seal' | 'open' | 'has'>;
  /** undefined: this node does not sign. */
  readonly authority: () => CertificateAuthority | undefined;
  /** Names of nodes that do. */
  readonly signers: () => readonly string[];
  readonly roots: () => readonly TrustedRoot[];
  readonly write: (change: CertificateChange) => void;
  /** Into the audit log, before it is done. */
  readonly tell: (change: Omit<CertificateChange, 'writes'>) => void;
  readonly nowMs: () => number;
}

export interface CertificateChange {
  readonly action: string;
  readonly name: string;
  readonly by: Caller;
  readonly message: string;
  readonly writes: readonly CellWrite[];
}

interface Known {
  readonly record: ServiceCertificateRecord;
  readonly facts: ChainFacts;
}

/** What a program on the machine is given. */
export interface CertificatePair {
  readonly name: string;
  /** PEM. */
  readonly chain: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;

export class ServiceCertificates implements CertificateUseCases {
  readonly #options: ServiceCertificatesOptions;
  readonly #known = new Map<string, Known>();
  readonly #revoked = new Map<string, ServiceRevocation>();

  constructor(options: ServiceCertificatesOptions) {
    this.#options = options;
  }

  /** Reads what is stored. */
  load(): void {
    for (const kind of [SERVICE_CERTIFICATE_KIND, REVOKED_CERTIFICATE_KIND]) {
      for (const { id, groups } of objectsOfKind(this.#options.cells, kind)) this.#take(kind, id, valuesOf(groups));
    }
  }

  /** They look different now. */
  changed(kind: string, ids: Iterable<string>): void {
    if (kind !== SERVICE_CERTIFICATE_KIND && kind !== REVOKED_CERTIFICATE_KIND) return;
    for (const id of ids) {
      const groups = new Map(this.#options.cells.object(kind, id).map((cell) => [cell.group, cell]));
      this.#take(kind, id, valuesOf(groups));
    }
  }

  list(): readonly ServiceCertificate[] {
    const known = [...this.#known.values()].sort((one, other) => (one.record.name < other.record.name ? -1 : 1));
    return known.map((each) => this.#view(each));
  }

  get(name: string): ServiceCertificate {
    return this.#view(this.#find(name));
  }

  async issue({ name, names, roles, days }: IssueRequest, by: Caller): Promise<ServiceCertificate> {
    this.#checkNew(name, undefined);
    const authority = this.#authority();
    const { tools, nowMs, write } = this.#options;
    const { key, request } = await tools.newKey();
    const subject = { name, names, roles, lifetimeMs: days * DAY_MS };
    const { pem } = await authority.issueService(request, subject, nowMs());
    // Somebody may have been faster.
    this.#checkNew(name, undefined);
    const made = this.#sealed({ name, chain: tools.sentOf(pem), source: 'issued', days, earlier: [] }, key, by);
    const writes = [...made.writes, ...certificateWrites(made.record, true)];
    write({ action: ACTION.issueServiceCertificate, name, by, message: describe(made.facts), writes });
    return this.get(name);
  }

  import({ name, chain, key, replace }: ImportRequest, by: Caller): ServiceCertificate {
    const { tools, nowMs, write } = this.#options;
    const before = this.#known.get(name);
    this.#checkNew(name, replace ? before : undefined);
    const checked = tools.check(chain, key, nowMs());
    if (checked.kind === 'faulty') {
      const { faults } = checked;
      const count = faults.length === 1 ? 'one fault' : `${faults.length} faults`;
      const violations = faults.map((fault) => create(ViolationSchema, fault));
      throw new ApplicationError('invalid', `certificate "${name}" is not imported: it has ${count}`, violations);
    }
    const imported = { name, chain: checked.chain, source: 'imported', days: 0, earlier: [] } as const;
    const made = this.#sealed(imported, checked.key, by);
    const writes = [...made.writes, ...certificateWrites(made.record, before === undefined)];
    write({ action: ACTION.importCertificate, name, by, message: describe(made.facts), writes });
    return this.get(name);
  }

  async renew(name: string, revoke: RevocationReason | undefined, by: Caller): Promise<ServiceCertificate> {
    const { write } = this.#options;
    const before = this.#issued(name, 'renewed');
    const made = await this.#renewed(before, by);
    const revocations = revoke === undefined ? [] : this.#revocations(made.record.earlier, revoke);
    const writes = [...made.writes, ...certificateWrites(made.record, false), ...revocations.flatMap(revocationWrites)];
    const message = `${describe(made.facts)}${revocations.length === 0 ? '' : '; those before it are revoked'}`;
    write({ action: ACTION.renewCertificate, name, by, message, writes });
    return this.get(name);
  }

  revoke(name: string, reason: RevocationReason, by: Caller): ServiceCertificate {
    const { record, facts } = this.#issued(name, 'revoked');
    const { serial, notAfterMs } = facts.leaf;
    const revocations = this.#revocations([{ serial, notAfterMs }, ...record.earlier], reason);
    if (revocations.length === 0) return this.get(name);
    const message = `serials ${revocations.map((each) => each.serial).join(', ')}`;
    const writes = revocations.flatMap(revocationWrites);
    this.#options.write({ action: ACTION.revokeServiceCertificate, name, by, message, writes });
    return this.get(name);
  }

  remove(name: string, by: Caller): void {
    const { facts } = this.#find(name);
    const writes = [certificateRemoval(name)];
    this.#options.write({ action: ACTION.deleteCertificate, name, by, message: describe(facts), writes });
  }

  exportKey(name: string, by: Caller): { readonly chain: string; readonly key: string } {
    const known = this.#find(name);
    const key = this.#keyOf(known);
    if (key === undefined) {
      const fix = 'ask another node, or try again once a member that has it is there';
      throw new ApplicationError('unavailable', `this node was not given what opens the key of "${name}": ${fix}`);
    }
    this.#options.tell({ action: ACTION.exportPrivateKey, name, by, message: describe(known.facts) });
    return { chain: known.record.chain, key };
  }

  /** Renews what is due and this node's turn. alive: ids of nodes that sign and answer. A reason for each that failed. */
  async renewDue(self: string, alive: readonly string[], by: Caller): Promise<readonly string[]> {
    const { authority, nowMs, write } = this.#options;
    const failures: string[] = [];
    if (authority() === undefined) return failures;
    const turn = renewalTurn(alive, self);
    for (const { name } of [...this.#known.values()].map(({ record }) => record)) {
      const known = this.#known.get(name);
      const dueMs = known && this.#renewsMs(known);
      if (known === undefined || dueMs === undefined || nowMs() < renewsAtMs(dueMs, turn)) continue;
      try {
        const { record, facts, writes } = await this.#renewed(known, by);
        const message = `${describe(facts)}; in time`;
        const all = [...writes, ...certificateWrites(record, false)];
        write({ action: ACTION.renewInTime, name, by, message, writes: all });
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return failures;
  }

  /** Those of the mesh's CA that are revoked besides; the same object when that is nothing. */
  revoked(revocations: Revocations): Revocations {
    const now = this.#options.nowMs();
    const more = new Map<string, Revocation>();
    for (const { serial, revokedAtMs, reason, notAfterMs } of this.#revoked.values()) {
      if (notAfterMs < now || revocations.has(serial)) continue;
      more.set(serial, { serial, revokedAtMs: wholeSeconds(revokedAtMs), reason });
    }
    // Not by revoke(), which stops at a number: what is revoked is revoked.
    return more.size === 0 ? revocations : unite([revocations, more]);
  }

  /** Ids of the keys that something is sealed by. */
  usedKeys(): ReadonlySet<string> {
    return new Set([...this.#known.values()].map(({ record }) => record.secretsKey));
  }

  /** What may be shown to clients, as far as this node can open it. */
  *pairs(): Iterable<CertificatePair> {
    for (const known of this.#known.values()) {
      const { name, chain } = known.record;
      if (this.#revoked.has(known.facts.leaf.serial) && known.record.source === 'issued') continue;
      const key = this.#keyOf(known);
      if (key !== undefined) yield { name, chain, key };
    }
  }

  #view(known: Known): ServiceCertificate {
    const { record, facts } = known;
    const { name, source, chain, writtenMs, writtenBy, secretsKey } = record;
    const renewsMs = this.#renewsMs(known);
    const revokedMs = source === 'issued' ? this.#revoked.get(facts.leaf.serial)?.revokedAtMs : undefined;
    const standing = standingOf(facts.leaf, { renewsMs, revoked: revokedMs !== undefined }, this.#options.nowMs());
    const keyAvailable = this.#options.secrets.has(secretsKey);
    return { name, source, facts, chain, renewsMs, revokedMs, writtenMs, writtenBy, keyAvailable, standing };
  }

  /** undefined: never by itself. */
  #renewsMs({ record, facts }: Known): number | undefined {
    if (record.source !== 'issued' || this.#revoked.has(facts.leaf.serial)) return undefined;
    return renewalOf(facts.leaf, this.#options.roots(), this.#options.nowMs()).atMs;
  }

  async #renewed(before: Known, by: Caller): Promise<Made> {
    const authority = this.#authority();
    const { tools, nowMs } = this.#options;
    const { name, days } = before.record;
    const { names, roles, leaf } = before.facts;
    const { key, request } = await tools.newKey();
    const subject = { name, names: readServiceNames(names), roles, lifetimeMs: days * DAY_MS };
    const { pem } = await authority.issueService(request, subject, nowMs());
    if (this.#known.get(name)?.facts.leaf.fingerprint !== leaf.fingerprint) {
      throw new ApplicationError(
        'conflict',
        `certificate "${name}" was changed meanwhile: see marcher certificate list`,
      );
    }
    const now = nowMs();
    const earlier = [{ serial: leaf.serial, notAfterMs: leaf.notAfterMs }, ...before.record.earlier]
      .filter(({ notAfterMs }) => notAfterMs > now)
      .slice(0, CERTIFICATE_LIMITS.earlier);
    return this.#sealed({ name, chain: tools.sentOf(pem), source: 'issued', days, earlier }, key, by);
  }

  /** The key is of no use afterwards. */
  #sealed(
    what: Pick<ServiceCertificateRecord, 'name' | 'chain' | 'source' | 'days' | 'earlier'>,
    key: Uint8Array,
    by: Caller,
  ): Made {
    const { tools, secrets, nowMs } = this.#options;
    const facts = tools.read(what.chain);
    if (facts === undefined) throw new ApplicationError('invalid', `certificate "${what.name}" can not be read`);
    let sealed: Sealed;
    try {
      sealed = secrets.seal(key, keyAbout(what.name, facts.leaf.fingerprint));
    } finally {
      key.fill(0);
    }
    const written = { writtenMs: nowMs(), writtenBy: by.author };
    const record = { ...what, ...written, sealedKey: sealed.sealed, secretsKey: sealed.keyId };
    return { record, facts, writes: sealed.writes };
  }

  #keyOf({ record, facts }: Known): string | undefined {
    const { name, secretsKey, sealedKey } = record;
    const key = this.#options.secrets.open(secretsKey, sealedKey, keyAbout(name, facts.leaf.fingerprint));
    if (key === undefined) return undefined;
    try {
      return this.#options.tools.keyPem(key);
    } finally {
      key.fill(0);
    }
  }

  /** Of those that are not revoked yet and could still be shown. And those that can't any more are forgotten. */
  #revocations(certificates: readonly EarlierCertificate[], reason: RevocationReason): ServiceRevocation[] {
    const now = this.#options.nowMs();
    const wanted = certificates.filter(({ serial, notAfterMs }) => notAfterMs > now && !this.#revoked.has(serial));
    const room = CERTIFICATE_LIMITS.revoked - this.#revoked.size;
    if (wanted.length > room) {
      const fix = 'wait until some of them have expired, or rotate the CA, which leaves all of its certificates behind';
      throw new ApplicationError('refused', `${this.#revoked.size} certificates of services are revoked: ${fix}`);
    }
    return wanted.map(({ serial, notAfterMs }) => ({ serial, revokedAtMs: now, reason, notAfterMs }));
  }

  /** What nobody asks for any more. */
  forgetWrites(): CellWrite[] {
    const now = this.#options.nowMs();
    return [...this.#revoked.values()]
      .filter(({ notAfterMs }) => notAfterMs + DAY_MS < now)
      .map(({ serial }) => revocationRemoval(serial));
  }

  #find(name: string): Known {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const shown = JSON.stringify(name.slice(0, 80));
    throw new ApplicationError('not_found', `there is no certificate ${shown}: see marcher certificate list`);
  }

  #issued(name: string, what: string): Known {
    const known = this.#find(name);
    if (known.record.source === 'issued') return known;
    const fix = 'ask its CA, and import what you get: marcher certificate import --replace';
    const issuer = known.facts.issuer.slice(0, 200);
    throw new ApplicationError('refused', `certificate "${name}" is of ${issuer}, and can't be ${what} here: ${fix}`);
  }

  /** replaced: the one in whose place it comes. */
  #checkNew(name: string, replaced: Known | undefined): void {
    const fault = certificateNameFault(name);
    if (fault !== undefined) throw new ApplicationError('invalid', fault);
    const there = this.#known.get(name);
    if (there !== undefined && there.record.source === 'issued') {
      const fix = 'renew it, or delete it first';
      throw new ApplicationError('conflict', `certificate "${name}" is there, issued by the mesh: ${fix}`);
    }
    if (there !== undefined && replaced === undefined) {
      const fix = 'choose another name, or import it in its place: --replace';
      throw new ApplicationError('conflict', `certificate "${name}" is there, imported: ${fix}`);
    }
    if (there === undefined && this.#known.size >= CERTIFICATE_LIMITS.count) {
      const most = `the mesh has ${CERTIFICATE_LIMITS.count} certificates of services, which is the most`;
      throw new ApplicationError('refused', `${most}: delete one`);
    }
  }

  #authority(): CertificateAuthority {
    const authority = this.#options.authority();
    if (authority !== undefined) return authority;
    const signers = this.#options.signers();
    const who = signers.length === 0 ? 'none is known that does' : `these do: ${signers.slice(0, 5).join(', ')}`;
    throw new ApplicationError('refused', `this node does not hold the key of the mesh's CA; ${who}`);
  }

  #take(kind: string, id: string, values: ReadonlyMap<string, Uint8Array> | undefined): void {
    if (kind === REVOKED_CERTIFICATE_KIND) {
      const revocation = values && unpackRevocation(id, values, this.#options.nowMs());
      if (revocation === undefined) this.#revoked.delete(id);
      else this.#revoked.set(id, revocation);
      return;
    }
    const record = values && unpackCertificate(id, values);
    const facts = record && this.#options.tools.read(record.chain);
    if (record === undefined || facts === undefined) this.#known.delete(id);
    else this.#known.set(id, { record, facts });
  }
}

interface Made {
  readonly record: ServiceCertificateRecord;
  readonly facts: ChainFacts;
  /** To be written with it. */
  readonly writes: readonly CellWrite[];
}

function describe({ leaf }: ChainFacts): string {
  return `serial ${leaf.serial}, until ${new Date(leaf.notAfterMs).toISOString()}`;
}
