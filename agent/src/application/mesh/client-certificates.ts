// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of operators: signed here where this node holds the CA's key, listed and revoked anywhere. One is known to
 * the mesh before whoever asked for it has it, so that there is none that can't be revoked.
 *
 * What is revoked is refused by each node as it hears of it; nodes with the CA's key also write it into their lists, which
 * go to those that join, and outlive the record.
 */
import { clientLifetimeFault, userNameFault } from '../../domain/identity/issue.js';
import { wholeSeconds } from '../../domain/identity/lifetime.js';
import { REVOCATION_REASON, type Revocation, type Revocations, unite } from '../../domain/identity/revocation.js';
import {
  CLIENT_CERTIFICATE_KIND,
  CLIENT_RECORD_GROUP,
  CLIENT_REVOKED_GROUP,
  type ClientCertificate,
  isForgettable,
  packClientRecord,
  packClientRevocation,
  unpackClientCertificate,
} from '../../domain/mesh/client-certificate.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind } from '../../domain/replication/kind.js';
import { EXISTENCE, type Groups, visible } from '../../domain/replication/object.js';
import type { CertificateAuthority } from '../../ports/identity.js';
import type { IssuedClient } from '../../ports/mesh.js';
import { ApplicationError, type Caller } from '../../ports/use-cases.js';

export interface ClientCertificatesOptions {
  readonly cells: ReplicaStore;
  /** undefined: this node does not sign. */
  readonly authority: () => CertificateAuthority | undefined;
  /** Names of nodes that do. */
  readonly signers: () => readonly string[];
  /** PEM. */
  readonly roots: () => string;
  readonly write: (change: ClientChange) => void;
  readonly nowMs: () => number;
}

export interface ClientChange {
  readonly kind: 'issued' | 'revoked';
  readonly certificate: ClientCertificate;
  readonly by: Caller;
  readonly writes: readonly CellWrite[];
}

export interface ClientRequest {
  readonly user: string;
  /** PKCS #10, DER. */
  readonly request: Uint8Array;
  readonly lifetimeMs: number;
}

/** Some MB of records; each is looked at when one is issued. */
const COUNT_MAX = 10_000;
const NOTHING = new Uint8Array(0);

export class ClientCertificates {
  readonly #options: ClientCertificatesOptions;
  readonly #known = new Map<string, ClientCertificate>();

  constructor(options: ClientCertificatesOptions) {
    this.#options = options;
  }

  /** Reads what is stored. */
  load(): void {
    for (const { id, groups } of objectsOfKind(this.#options.cells, CLIENT_CERTIFICATE_KIND)) this.#take(id, groups);
  }

  /** They look different now. */
  changed(serials: Iterable<string>): void {
    const { cells } = this.#options;
    for (const serial of serials) {
      const found = cells.object(CLIENT_CERTIFICATE_KIND, serial);
      this.#take(serial, new Map(found.map((cell) => [cell.group, cell])));
    }
  }

  /** The newest first. */
  list(): readonly ClientCertificate[] {
    return [...this.#known.values()].sort((one, other) => other.issuedMs - one.issuedMs);
  }

  /** Throws ApplicationError. */
  async issue({ user, request, lifetimeMs }: ClientRequest, by: Caller): Promise<IssuedClient> {
    const { authority: authorityOf, nowMs, write, roots } = this.#options;
    const fault = userNameFault(user) ?? clientLifetimeFault(lifetimeMs);
    if (fault !== undefined) throw new ApplicationError('invalid', fault);
    const authority = authorityOf();
    if (authority === undefined) throw this.#notHere();
    const now = nowMs();
    const old = this.list().filter((certificate) => isForgettable(certificate, now));
    if (this.#known.size - old.length >= COUNT_MAX) {
      throw new ApplicationError('refused', `the mesh has ${COUNT_MAX} client certificates, which is the most`);
    }
    const { pem, certificate } = await authority.issueClient(request, { user, lifetimeMs }, now);
    const { serial, notAfterMs: expiresMs, issuerKeyId } = certificate;
    const details = { serial, user, issuedMs: now, expiresMs, issuedBy: by.author, issuerKeyId, revokedMs: undefined };
    const key = { kind: CLIENT_CERTIFICATE_KIND, id: serial };
    const writes = [
      { ...key, group: EXISTENCE, value: NOTHING },
      { ...key, group: CLIENT_RECORD_GROUP, value: packClientRecord(details) },
      ...old.map(({ serial: id }) => ({ ...key, id, group: EXISTENCE, value: undefined })),
    ];
    write({ kind: 'issued', certificate: details, by, writes });
    return { pem, roots: roots(), details };
  }

  /** Throws ApplicationError "not_found". */
  revoke(serial: string, by: Caller): void {
    const { nowMs, write } = this.#options;
    const certificate = this.#known.get(serial);
    if (certificate === undefined) {
      const fix = 'see marcher mesh certificate list';
      throw new ApplicationError('not_found', `there is no client certificate ${serial}: ${fix}`);
    }
    if (certificate.revokedMs !== undefined) return;
    const value = packClientRevocation(nowMs());
    const key = { kind: CLIENT_CERTIFICATE_KIND, id: serial };
    write({ kind: 'revoked', certificate, by, writes: [{ ...key, group: CLIENT_REVOKED_GROUP, value }] });
  }

  /** Those, and what is revoked here and in no list yet; the same object when that is nothing. */
  revoked(revocations: Revocations): Revocations {
    const now = this.#options.nowMs();
    const more = new Map<string, Revocation>();
    for (const { serial, revokedMs, expiresMs } of this.#known.values()) {
      if (revokedMs === undefined || expiresMs < now || revocations.has(serial)) continue;
      const reason = REVOCATION_REASON.privilegeWithdrawn;
      more.set(serial, { serial, revokedAtMs: wholeSeconds(revokedMs), reason });
    }
    // Not by revoke(), which stops at a number: what is revoked is revoked.
    return more.size === 0 ? revocations : unite([revocations, more]);
  }

  #notHere(): ApplicationError {
    const signers = this.#options.signers();
    const who = signers.length === 0 ? 'none is known that does' : `these do: ${signers.slice(0, 5).join(', ')}`;
    return new ApplicationError('refused', `this node does not hold the key of the mesh's CA; ${who}`);
  }

  #take(serial: string, groups: Groups): void {
    const cells = new Map([...visible(groups)].map(({ group, value }) => [group, value]));
    const record = cells.get(CLIENT_RECORD_GROUP);
    const read =
      cells.has(EXISTENCE) && record !== undefined
        ? unpackClientCertificate(serial, record, cells.get(CLIENT_REVOKED_GROUP))
        : undefined;
    if (read === undefined) this.#known.delete(serial);
    else this.#known.set(serial, read);
  }
}
