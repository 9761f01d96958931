// SPDX-License-Identifier: Apache-2.0
/**
 * TLS for operators who call from elsewhere: 1.3 only, a certificate of the mesh or of the operator's own shown, one of a
 * client asked for and not required. As between nodes (mesh-tls.ts) nothing is resumed, since what is resumed is not
 * verified anew, and a bad client certificate does not end the handshake: who has it is told what is wrong with it.
 *
 * Keys of clients and of the operator's own certificate may be of any kind that OpenSSL takes, so signatures are its
 * choice; what the mesh's CA signs is P-384 alone.
 */
import { constants } from 'node:crypto';
import type { SecureContextOptions, Server, TLSSocket } from 'node:tls';
import { judgeOperator, type OperatorVerdict } from '../../../domain/identity/operator.js';
import type { PresentedCertificate } from '../../../domain/identity/peer.js';
import { issuers } from '../../../domain/identity/trust.js';
import { factsOf } from './certificate-facts.js';
import { LiveContext } from './live-context.js';
import type { MeshTlsMaterial } from './mesh-tls.js';

const PROTOCOL = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
  ecdhCurve: 'X25519:P-256:P-384',
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const satisfies SecureContextOptions;

/** What a caller has shown: nothing, something that can't be read, or a certificate with OpenSSL's word on its chain. */
export type Shown = 'nothing' | 'unreadable' | PresentedCertificate;

export class OperatorTls {
  #material: MeshTlsMaterial;
  readonly #context: LiveContext;
  readonly #nowMs: () => number;

  /** material.credentials: what is shown to callers. Fails as IdentityError "invalid". */
  constructor(material: MeshTlsMaterial, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#context = new LiveContext(material, { protocol: PROTOCOL, key: "the API's key", nowMs });
    this.#material = material;
  }

  get context(): SecureContextOptions {
    return this.#context.current;
  }

  /** For connections from now on. Fails as IdentityError "invalid", and then what was before stays in force. */
  update(material: MeshTlsMaterial): void {
    this.#context.update(material);
    this.#material = material;
  }

  /** Keeps the server up to date, until what it returns is called. It must have been made with requestCert. */
  attach(server: Server): () => void {
    return this.#context.attach(server);
  }

  /** Of a connection whose handshake is done. */
  shownBy(socket: TLSSocket): Shown {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return 'nothing';
    // Declared as Error, but it is OpenSSL's code in text.
    const chainError = socket.authorized ? undefined : String(socket.authorizationError ?? 'UNAUTHORIZED');
    try {
      return { certificate: factsOf(certificate), chainError };
    } catch {
      return 'unreadable';
    }
  }

  /** As of now: roots are retired, certificates revoked, and time passes. */
  judge(presented: PresentedCertificate): OperatorVerdict {
    const { meshId, roots, revocations } = this.#material;
    const rootKeyIds = issuers(roots, this.#nowMs()).map(({ certificate }) => certificate.keyId);
    return judgeOperator(presented, { meshId, rootKeyIds, revocations }, this.#nowMs());
  }
}
