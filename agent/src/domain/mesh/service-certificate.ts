// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of services as they are replicated (shared/proto/marcher/mesh/v1/certificate.proto), and when an issued one
 * is renewed, and by whom. Certificate and key are one register: of two renewals at once the later one stands at all nodes, whole.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  CertificateOrigin,
  ServiceCertificateRecordSchema,
  ServiceCertificateRevocationSchema,
} from '@marcher/proto/marcher/mesh/v1/certificate_pb';
import { canonicalSerial } from '../identity/certificate.js';
import { LIFETIME, type Validity } from '../identity/lifetime.js';
import { isCertificateName } from '../identity/names.js';
import { REVOCATION_REASON, type Revocation } from '../identity/revocation.js';
import type { CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';
import { isSecretsKeyId } from './secrets-key.js';

/** The kinds of the replicated objects; their ids are the name, and the serial. */
export const SERVICE_CERTIFICATE_KIND = 'Certificate';
export const REVOKED_CERTIFICATE_KIND = 'RevokedCertificate';

export interface EarlierCertificate {
  readonly serial: string;
  readonly notAfterMs: number;
}

export interface ServiceCertificateRecord {
  readonly name: string;
  /** PEM, without the root. */
  readonly chain: string;
  readonly sealedKey: Uint8Array;
  /** Id of the key that it is sealed by. */
  readonly secretsKey: string;
  readonly source: 'issued' | 'imported';
  /** Of issued ones. */
  readonly days: number;
  readonly writtenMs: number;
  readonly writtenBy: string;
  /** The newest first. */
  readonly earlier: readonly EarlierCertificate[];
}

export interface ServiceRevocation extends Revocation {
  readonly notAfterMs: number;
}

export const CERTIFICATE_LIMITS = {
  count: 1_000,
  /** Serials that are to be revoked by name, should it come to that. */
  revoked: 5_000,
  chainBytes: 65_536,
  /** RSA of 8,192 bits has some 4.7 KB. */
  keyBytes: 16_384,
  earlier: 8,
} as const;

const RECORD = '1';
const AUTHOR_CHARACTERS = 512;
const SERIAL = /^[0-9a-f]{1,40}$/;
const SOURCES = { issued: CertificateOrigin.ISSUED, imported: CertificateOrigin.IMPORTED } as const;

/** What the sealed key belongs to. fingerprint: of the certificate. */
export function keyAbout(name: string, fingerprint: string): string {
  return `certificate ${name} ${fingerprint}`;
}

export function certificateWrites(record: ServiceCertificateRecord, isNew: boolean): CellWrite[] {
  const { name, chain, sealedKey, secretsKey, source, days, writtenMs, writtenBy, earlier } = record;
  const message = create(ServiceCertificateRecordSchema, {
    chain,
    sealedKey: Uint8Array.from(sealedKey),
    secretsKey,
    origin: SOURCES[source],
    days,
    writtenMs: BigInt(writtenMs),
    writtenBy: writtenBy.slice(0, AUTHOR_CHARACTERS),
    earlier: earlier
      .slice(0, CERTIFICATE_LIMITS.earlier)
      .map(({ serial, notAfterMs }) => ({ serial, notAfterMs: BigInt(notAfterMs) })),
  });
  const key = { kind: SERVICE_CERTIFICATE_KIND, id: name };
  const written = { ...key, group: RECORD, value: toBinary(ServiceCertificateRecordSchema, message) };
  return isNew ? [{ ...key, group: EXISTENCE, value: new Uint8Array(0) }, written] : [written];
}

export function certificateRemoval(name: string): CellWrite {
  return { kind: SERVICE_CERTIFICATE_KIND, id: name, group: EXISTENCE, value: undefined };
}

/** values: of the groups of an object that is there. undefined: it is none; who wrote it may have been any node. */
export function unpackCertificate(
  name: string,
  values: ReadonlyMap<string, Uint8Array>,
): ServiceCertificateRecord | undefined {
  try {
    const value = values.get(RECORD);
    if (value === undefined || !isCertificateName(name)) return undefined;
    const read = fromBinary(ServiceCertificateRecordSchema, value);
    const { chain, sealedKey, secretsKey, origin, days, writtenBy } = read;
    const source = origin === SOURCES.issued ? 'issued' : origin === SOURCES.imported ? 'imported' : undefined;
    const { chainBytes, keyBytes, earlier } = CERTIFICATE_LIMITS;
    if (source === undefined || !isSecretsKeyId(secretsKey) || read.earlier.length > earlier) return undefined;
    if (chain.length > chainBytes || sealedKey.length > 2 * keyBytes || writtenBy.length > AUTHOR_CHARACTERS) {
      return undefined;
    }
    if (source === 'issued' && (days < 1 || days * DAY_MS > LIFETIME.serviceMaxMs)) return undefined;
    return {
      ...{ name, chain, sealedKey, secretsKey, source, days, writtenBy },
      writtenMs: Number(read.writtenMs),
      earlier: read.earlier
        .map(({ serial, notAfterMs }) => ({ serial, notAfterMs: Number(notAfterMs) }))
        .filter(({ serial }) => isSerial(serial)),
    };
  } catch {
    return undefined;
  }
}

const DAY_MS = 86_400_000;

export function revocationWrites({ serial, revokedAtMs, reason, notAfterMs }: ServiceRevocation): CellWrite[] {
  const key = { kind: REVOKED_CERTIFICATE_KIND, id: serial };
  const times = { revokedMs: BigInt(revokedAtMs), notAfterMs: BigInt(notAfterMs) };
  const message = create(ServiceCertificateRevocationSchema, { ...times, reason });
  return [
    { ...key, group: EXISTENCE, value: new Uint8Array(0) },
    { ...key, group: RECORD, value: toBinary(ServiceCertificateRevocationSchema, message) },
  ];
}

export function revocationRemoval(serial: string): CellWrite {
  return { kind: REVOKED_CERTIFICATE_KIND, id: serial, group: EXISTENCE, value: undefined };
}

/** What can't be read of it revokes all the same, for as long as a certificate may last. */
export function unpackRevocation(
  serial: string,
  values: ReadonlyMap<string, Uint8Array>,
  nowMs: number,
): ServiceRevocation | undefined {
  if (!isSerial(serial)) return undefined;
  try {
    const value = values.get(RECORD);
    if (value !== undefined) {
      const { revokedMs, reason, notAfterMs } = fromBinary(ServiceCertificateRevocationSchema, value);
      const longest = Number(revokedMs) + LIFETIME.leafMaxMs;
      const known = Object.values(REVOCATION_REASON).some((code) => code === reason);
      return {
        serial,
        revokedAtMs: Number(revokedMs),
        reason: known ? reason : REVOCATION_REASON.unspecified,
        notAfterMs: Math.min(Number(notAfterMs), longest),
      };
    }
  } catch {
    // Below.
  }
  return {
    serial,
    revokedAtMs: nowMs,
    reason: REVOCATION_REASON.unspecified,
    notAfterMs: nowMs + LIFETIME.leafMaxMs,
  };
}

/** Node ids of those that sign and are there, in the order in which they renew. */
export function renewalTurn(signers: Iterable<string>, self: string): number {
  return [...new Set([...signers, self])].sort().indexOf(self);
}

/** Between the turns of two that sign: the first has renewed by then, and the others have heard of it. */
export const TURN_MS = 600_000;

/** When the node of that turn renews what is due at dueMs. */
export function renewsAtMs(dueMs: number, turn: number): number {
  return dueMs + turn * TURN_MS;
}

/** Imported ones are told of so long before their end. */
const WARN_MS = 14 * DAY_MS;
/** Of its lifetime: an issued one that is so far past its renewal waits for something. */
const LATE_PART = 0.1;

export type Standing = 'good' | 'expiring' | 'late' | 'expired' | 'not-yet-valid' | 'revoked';

/** renewsMs: undefined: nobody renews it. late: it should have been renewed by now. */
export function standingOf(
  { notBeforeMs, notAfterMs }: Validity,
  { renewsMs, revoked }: { readonly renewsMs: number | undefined; readonly revoked: boolean },
  nowMs: number,
): Standing {
  if (revoked) return 'revoked';
  if (nowMs > notAfterMs) return 'expired';
  if (nowMs < notBeforeMs) return 'not-yet-valid';
  if (renewsMs === undefined) return nowMs > notAfterMs - WARN_MS ? 'expiring' : 'good';
  return nowMs > renewsMs + (notAfterMs - notBeforeMs) * LATE_PART ? 'late' : 'good';
}

function isSerial(text: string): boolean {
  return SERIAL.test(text) && canonicalSerial(text) === text;
}
