// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: what operators ask of them, and what reads and checks them. */
import type { CertificateFacts } from '../domain/identity/certificate.js';
import type { CertificateRole } from '../domain/identity/issue.js';
import type { RevocationReason } from '../domain/identity/revocation.js';
import type { ServiceNames } from '../domain/identity/service-names.js';
import type { Standing } from '../domain/mesh/service-certificate.js';
import type { Caller } from './use-cases.js';

/** What a chain says, all of it public. */
export interface ChainFacts {
  /** Of the certificate itself. */
  readonly leaf: CertificateFacts;
  /** DNS names, then IP addresses. */
  readonly names: readonly string[];
  readonly issuer: string;
  /** "EC secp384r1", "RSA 2048", "Ed25519" */
  readonly keyType: string;
  readonly roles: readonly CertificateRole[];
}

export interface ChainFault {
  /** What it is about: "chain", "chain[1]", "private_key". */
  readonly path: string;
  readonly reason: string;
  readonly fix: string;
}

export type CheckedImport =
  | {
      readonly kind: 'good';
      /** PEM, in order, without the root. */
      readonly chain: string;
      /** PKCS #8, DER. */
      readonly key: Uint8Array;
      readonly facts: ChainFacts;
    }
  | { readonly kind: 'faulty'; readonly faults: readonly ChainFault[] };

export interface MadeKey {
  /** PKCS #8, DER. */
  readonly key: Uint8Array;
  /** PKCS #10, PEM. */
  readonly request: string;
}

export interface CertificateTools {
  /** undefined: it is no chain. */
  read(chain: string): ChainFacts | undefined;
  /** key: PEM or DER. No fault quotes from it. */
  check(chain: string, key: Uint8Array, nowMs: number): CheckedImport;
  /** Of the kind that the mesh's CA signs. */
  newKey(): Promise<MadeKey>;
  /** Without the root with which the CA gives it; with an intermediate, which clients do not have. */
  sentOf(issued: string): string;
  /** PKCS #8, PEM. key: DER. */
  keyPem(key: Uint8Array): string;
}

export interface ServiceCertificate {
  readonly name: string;
  readonly source: 'issued' | 'imported';
  readonly facts: ChainFacts;
  /** PEM. */
  readonly chain: string;
  /** undefined: never by itself. */
  readonly renewsMs: number | undefined;
  /** undefined: it is not. */
  readonly revokedMs: number | undefined;
  readonly writtenMs: number;
  readonly writtenBy: string;
  /** Whether this node can open its key. */
  readonly keyAvailable: boolean;
  readonly standing: Standing;
}

export interface IssueRequest {
  readonly name: string;
  readonly names: ServiceNames;
  readonly roles: readonly CertificateRole[];
  readonly days: number;
}

export interface ImportRequest {
  readonly name: string;
  /** PEM. */
  readonly chain: string;
  /** PEM or DER. */
  readonly key: Uint8Array;
  /** In the place of an imported one. */
  readonly replace: boolean;
}

/** Those that fail throw ApplicationError: "refused": this node is in no mesh, or does not sign. */
export interface CertificateUseCases {
  /** By name. */
  list(): readonly ServiceCertificate[];
  /** "not_found". */
  get(name: string): ServiceCertificate;
  /** "conflict": there is one of the name. */
  issue(request: IssueRequest, caller: Caller): Promise<ServiceCertificate>;
  /** "invalid", with every fault as a violation; "conflict". */
  import(request: ImportRequest, caller: Caller): ServiceCertificate;
  /** "not_found", "refused": it was imported. revoke: those before it; undefined: they stay good. */
  renew(name: string, revoke: RevocationReason | undefined, caller: Caller): Promise<ServiceCertificate>;
  /** "not_found", "refused": it was imported. */
  revoke(name: string, reason: RevocationReason, caller: Caller): ServiceCertificate;
  /** "not_found". */
  remove(name: string, caller: Caller): void;
  /** "not_found", "unavailable": this node can't open it (yet). Told in the audit log before it is given. */
  exportKey(name: string, caller: Caller): { readonly chain: string; readonly key: string };
}
