// SPDX-License-Identifier: Apache-2.0
/**
 * What all nodes know of an operator's certificate. Two registers: what it is, written by whoever signed it, and that it
 * is revoked, which anybody may write and nobody unwrites.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  ClientCertificateRecordSchema,
  ClientCertificateRevocationSchema,
} from '@marcher/proto/marcher/mesh/v1/client_certificate_pb';
import { canonicalSerial } from '../identity/certificate.js';
import { LIFETIME } from '../identity/lifetime.js';
import { isUserName } from '../identity/names.js';

/** The kind of the replicated object; its id is the serial. */
export const CLIENT_CERTIFICATE_KIND = 'ClientCertificate';
export const CLIENT_RECORD_GROUP = '1';
export const CLIENT_REVOKED_GROUP = '2';

export interface ClientCertificate {
  readonly serial: string;
  readonly user: string;
  readonly issuedMs: number;
  readonly expiresMs: number;
  readonly issuedBy: string;
  /** Key id of the root that signed it; empty: of the one that signed then. */
  readonly issuerKeyId: string;
  /** undefined: it is not. */
  readonly revokedMs: number | undefined;
}

const SERIAL = /^[0-9a-f]{1,32}$/;
const KEY_ID = /^[0-9a-f]{1,64}$/;
const AUTHOR_CHARACTERS = 512;
/** Shown for that long after it has expired. */
const KEPT_MS = 30 * 86_400_000;

export function isClientSerial(text: string): boolean {
  return SERIAL.test(text) && canonicalSerial(text) === text;
}

export function packClientRecord(certificate: ClientCertificate): Uint8Array {
  const { serial, user, issuedMs, expiresMs, issuedBy, issuerKeyId } = certificate;
  const times = { issuedMs: BigInt(issuedMs), expiresMs: BigInt(expiresMs) };
  const message = { serial, user, ...times, issuedBy: issuedBy.slice(0, AUTHOR_CHARACTERS), issuerKeyId };
  return toBinary(ClientCertificateRecordSchema, create(ClientCertificateRecordSchema, message));
}

export function packClientRevocation(revokedMs: number): Uint8Array {
  const message = create(ClientCertificateRevocationSchema, { revokedMs: BigInt(revokedMs) });
  return toBinary(ClientCertificateRevocationSchema, message);
}

/**
 * undefined: it is none, or not of that serial; who wrote it may have been any node. A revocation that can't be read
 * revokes all the same.
 */
export function unpackClientCertificate(
  serial: string,
  record: Uint8Array,
  revocation: Uint8Array | undefined,
): ClientCertificate | undefined {
  try {
    const read = fromBinary(ClientCertificateRecordSchema, record);
    const [issuedMs, expiresMs] = [Number(read.issuedMs), Number(read.expiresMs)];
    if (read.serial !== serial || !isClientSerial(serial) || !isUserName(read.user)) return undefined;
    if (read.issuedBy.length > AUTHOR_CHARACTERS || expiresMs - issuedMs > LIFETIME.leafMaxMs) return undefined;
    const { user, issuedBy } = read;
    const issuerKeyId = KEY_ID.test(read.issuerKeyId) ? read.issuerKeyId : '';
    const revokedMs = revocation && revokedAt(revocation, issuedMs);
    return { serial, user, issuedMs, expiresMs, issuedBy, issuerKeyId, revokedMs };
  } catch {
    return undefined;
  }
}

/** Whether nobody asks for it any more. */
export function isForgettable({ expiresMs }: ClientCertificate, nowMs: number): boolean {
  return nowMs > expiresMs + KEPT_MS;
}

function revokedAt(revocation: Uint8Array, issuedMs: number): number {
  try {
    return Number(fromBinary(ClientCertificateRevocationSchema, revocation).revokedMs);
  } catch {
    return issuedMs;
  }
}
