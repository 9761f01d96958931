// SPDX-License-Identifier: Apache-2.0
/**
 * TLS between nodes: 1.3 only, P-384 only, certificates at both ends. No session is ever resumed, since a resumed one is
 * not verified anew: tickets are off, and nobody keeps sessions.
 *
 * The listener lets a client without a certificate, or with a bad one, finish its handshake, so that it can be told apart
 * and named; mesh-listener.ts judges before it hands on a connection. Those that are dialled are refused by TLS itself.
 */
import { X509Certificate as Certificate, constants, type X509Certificate } from 'node:crypto';
import type { ConnectionOptions, SecureContextOptions, Server, TLSSocket } from 'node:tls';
import {
  judgePeer,
  type PeerRefusal,
  type PeerRules,
  type PeerVerdict,
  refusalOfCode,
} from '../../../domain/identity/peer.js';
import type { Revocations } from '../../../domain/identity/revocation.js';
import { issuers, type TrustedRoot, trustedRoots } from '../../../domain/identity/trust.js';
import type { NodeCredentials } from '../../../ports/identity.js';
import { factsOf } from './certificate-facts.js';
import { LiveContext } from './live-context.js';

export interface MeshTlsMaterial {
  readonly meshId: string;
  readonly credentials: NodeCredentials;
  readonly roots: readonly TrustedRoot[];
  readonly revocations: Revocations;
}

/** Why a dialled connection ended in checkServerIdentity. */
export class PeerRefusedError extends Error {
  readonly refusal: PeerRefusal;

  constructor(refusal: PeerRefusal, reason: string) {
    super(reason);
    this.name = 'PeerRefusedError';
    this.refusal = refusal;
  }
}

export const PROTOCOL = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
  ecdhCurve: 'P-384',
  sigalgs: 'ecdsa_secp384r1_sha384',
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const satisfies SecureContextOptions;

export class MeshTls {
  #material: MeshTlsMaterial;
  readonly #context: LiveContext;
  readonly #nowMs: () => number;

  /** Fails as IdentityError "invalid". */
  constructor(material: MeshTlsMaterial, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#context = new LiveContext(material, { protocol: PROTOCOL, key: "the node's key", nowMs });
    this.#material = material;
  }

  /** For what is made from it now; servers that were attached get what comes later. */
  get context(): SecureContextOptions {
    return this.#context.current;
  }

  /** Connections from now on use these. Fails as IdentityError "invalid", and then what was before stays in force. */
  update(material: MeshTlsMaterial): void {
    this.#context.update(material);
    this.#material = material;
  }

  /** Keeps the server up to date, until what it returns is called. It must have been made with requestCert. */
  attach(server: Server): () => void {
    return this.#context.attach(server);
  }

  /**
   * For tls.connect and http2.connect: fails with a PeerRefusedError, or with an error of OpenSSL that refusalOf() names.
   * nodeId: who is called; undefined: any node of the mesh.
   */
  dialOptions(nodeId?: string): ConnectionOptions {
    return {
      ...this.#context.current,
      rejectUnauthorized: true,
      checkServerIdentity: (_host, { raw }) =>
        refuse(judge(new Certificate(raw), undefined, this.#rules('server', nodeId), this.#nowMs())),
    };
  }

  /**
   * The other end of a connection whose handshake is done, or why it is not let in. Again for open ones after each
   * update(), as roots may have been retired and certificates revoked or expired.
   */
  judge(socket: TLSSocket, role: 'client' | 'server', nodeId?: string): PeerVerdict {
    // Declared as Error, but it is OpenSSL's code in text.
    const error = socket.authorized ? undefined : String(socket.authorizationError ?? 'UNAUTHORIZED');
    return judge(certificateOf(socket), error, this.#rules(role, nodeId), this.#nowMs());
  }

  #rules(role: 'client' | 'server', nodeId: string | undefined): PeerRules {
    const { meshId, roots, revocations } = this.#material;
    const trusted = trustedRoots(roots, this.#nowMs());
    const rootKeyIds = issuers(roots, this.#nowMs()).map(({ certificate }) => certificate.keyId);
    const retired = new Map<string, number>();
    for (const root of roots) {
      const { certificate, retiredAtMs } = root;
      if (retiredAtMs !== undefined && !trusted.includes(root)) retired.set(certificate.keyId, retiredAtMs);
    }
    return { meshId, rootKeyIds, retired, revocations, nodeId, role };
  }
}

/** For a joiner that has pinned a root and has no certificate yet. nodeId: the token's home. */
export function joinOptions(
  meshId: string,
  roots: readonly TrustedRoot[],
  nodeId: string,
  nowMs: () => number,
): ConnectionOptions {
  const rules: PeerRules = {
    meshId,
    rootKeyIds: issuers(roots, nowMs()).map(({ certificate }) => certificate.keyId),
    revocations: new Map(),
    nodeId,
    role: 'server',
  };
  return {
    ...PROTOCOL,
    ca: roots.map(({ pem }) => pem),
    rejectUnauthorized: true,
    checkServerIdentity: (_host, { raw }) => refuse(judge(new Certificate(raw), undefined, rules, nowMs())),
  };
}

/** Why a dialled connection failed, as far as it was for the other end's identity. */
export function refusalOf(error: unknown): PeerRefusal | undefined {
  if (error instanceof PeerRefusedError) return error.refusal;
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? refusalOfCode(code) : undefined;
}

const certificates = new WeakMap<TLSSocket, X509Certificate>();

/** Kept: of a connection that was dialled, Node tells it once and then no more. It is the same as long as that lasts. */
function certificateOf(socket: TLSSocket): X509Certificate | undefined {
  const certificate = certificates.get(socket) ?? socket.getPeerX509Certificate();
  if (certificate !== undefined) certificates.set(socket, certificate);
  return certificate;
}

function judge(
  certificate: X509Certificate | undefined,
  chainError: string | undefined,
  rules: PeerRules,
  nowMs: number,
): PeerVerdict {
  if (certificate === undefined) return judgePeer(undefined, rules, nowMs);
  try {
    return judgePeer({ certificate: factsOf(certificate), chainError }, rules, nowMs);
  } catch {
    return { kind: 'refused', refusal: 'unsuitable', reason: 'its certificate can not be read: let it join again' };
  }
}

function refuse(verdict: PeerVerdict): Error | undefined {
  return verdict.kind === 'refused' ? new PeerRefusedError(verdict.refusal, verdict.reason) : undefined;
}
