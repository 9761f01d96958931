// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh's identity as the application sees it: a CA that signs, a place where this node keeps what it is, and the
 * join tokens that it made. The rules are in domain/identity; keys stay in adapters/outbound/identity.
 *
 * No message of an IdentityError has a secret in it: no key, no passphrase, no token.
 */
import type { CertificateFacts } from '../domain/identity/certificate.js';
import type { GossipKeyring } from '../domain/identity/gossip-keyring.js';
import type { Mesh, ServiceSubject } from '../domain/identity/issue.js';
import type { TokenRecord, TokenUse } from '../domain/identity/join-token.js';
import type { Revocations } from '../domain/identity/revocation.js';
import type { RootSignature, RootStatement } from '../domain/identity/root-statement.js';
import type { TrustedRoot } from '../domain/identity/trust.js';

export type IdentityErrorCode =
  | 'missing'
  | 'exists'
  | 'damaged'
  | 'permissions' // others can read what is secret, or this process can't
  | 'io'
  | 'wrong-passphrase'
  | 'wrong-key-file'
  | 'invalid' // what was given: a request, a certificate, a list, a token
  | 'refused' // by the rules
  | 'wrong-ca' // the server that a token is for is another mesh's
  | 'limit';

export class IdentityError extends Error {
  readonly code: IdentityErrorCode;

  constructor(code: IdentityErrorCode, message: string) {
    super(message);
    this.name = 'IdentityError';
    this.code = code;
  }
}

/** What a CA's key is sealed by. */
export type Protection =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  /** What a key file has in it: 32 random bytes or more. */
  | { readonly kind: 'key-file'; readonly key: Uint8Array };

export interface IssuedCertificate {
  /** The certificate, then what signed it, up to the root: TLS servers send all, so that a joiner sees the root. */
  readonly pem: string;
  readonly certificate: CertificateFacts;
}

export interface RevocationList {
  readonly pem: string;
  readonly issuerKeyId: string;
  readonly number: bigint;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  readonly revocations: Revocations;
}

/** A root or an intermediate whose key this node holds. */
export interface CertificateAuthority {
  readonly mesh: Mesh;
  readonly certificate: CertificateFacts;
  readonly pem: string;
  /** PEM, of an intermediate: its offline root; else empty. */
  readonly issuers: string;
  /**
   * request: PKCS #10, DER or PEM. Its signature proves that the node has the key; its names and extensions are not
   * used. nodeId: as the CA's side knows it, from a token or from the certificate that is renewed.
   */
  issueNode(
    request: string | Uint8Array,
    nodeId: string,
    revocations: Revocations,
    nowMs: number,
  ): Promise<IssuedCertificate>;
  /** For an operator. request: as above; user, lifetimeMs: whoever asks has been let do that. */
  issueClient(
    request: string | Uint8Array,
    client: { readonly user: string; readonly lifetimeMs: number },
    nowMs: number,
  ): Promise<IssuedCertificate>;
  /** For a service. request: as above. */
  issueService(request: string | Uint8Array, service: ServiceSubject, nowMs: number): Promise<IssuedCertificate>;
  /** number: of nextCrlNumber(). */
  signRevocations(revocations: Revocations, number: bigint, nowMs: number): Promise<RevocationList>;
  /** What it says of itself or of another root. */
  say(statement: RootStatement): Promise<RootSignature>;
}

/** What a node shows to others. The key was made here, and leaves this machine in no message. */
export interface NodeCredentials {
  readonly privateKeyPem: string;
  readonly certificatePem: string;
}

/**
 * Where a node keeps what it is. Each of these is replaced whole, on disk when the call returns; undefined: there is none.
 * What is damaged, or may be read by others, is an IdentityError that says which file.
 */
export interface IdentityStore {
  loadCredentials(): NodeCredentials | undefined;
  saveCredentials(credentials: NodeCredentials): void;
  loadRoots(): readonly TrustedRoot[] | undefined;
  saveRoots(roots: readonly TrustedRoot[]): void;
  /** PEM, one per root. Whoever loads them verifies them: readRevocations(). */
  loadRevocationLists(): readonly string[] | undefined;
  saveRevocationLists(lists: readonly string[]): void;
  loadKeyring(): GossipKeyring | undefined;
  saveKeyring(keyring: GossipKeyring): void;
}

/**
 * Join tokens that this node made. Calls are synchronous and durable: when use() has returned true, that was the one use,
 * also if the process ends right after.
 */
export interface TokenStore {
  /** Refuses an id that is there, and more than TOKEN.countMax records: IdentityError "exists", "limit". */
  add(record: TokenRecord): void;
  find(id: string): TokenRecord | undefined;
  list(): readonly TokenRecord[];
  /** Compare and set: true for exactly one caller of a token that was not used; false when it was, or is not there. */
  use(id: string, use: TokenUse): boolean;
  /** All at once; how many of them were there. */
  remove(ids: readonly string[]): number;
}
