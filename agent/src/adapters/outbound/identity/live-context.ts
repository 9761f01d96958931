// SPDX-License-Identifier: Apache-2.0
/** What a TLS server shows and trusts, as it is now: servers that were attached get what comes later. */
import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls';
import { type TrustedRoot, trustedRoots } from '../../../domain/identity/trust.js';
import { IdentityError, type NodeCredentials } from '../../../ports/identity.js';

export interface ContextMaterial {
  readonly credentials: NodeCredentials;
  readonly roots: readonly TrustedRoot[];
}

export interface LiveContextOptions {
  readonly protocol: SecureContextOptions;
  /** Whose key it is, for errors: "the node's key". */
  readonly key: string;
  readonly nowMs: () => number;
}

export class LiveContext {
  readonly #options: LiveContextOptions;
  readonly #servers = new Set<Server>();
  #current: SecureContextOptions;

  /** Fails as IdentityError "invalid". */
  constructor(material: ContextMaterial, options: LiveContextOptions) {
    this.#options = options;
    this.#current = this.#made(material);
  }

  get current(): SecureContextOptions {
    return this.#current;
  }

  /** For connections from now on. Fails as IdentityError "invalid", and then what was before stays in force. */
  update(material: ContextMaterial): void {
    this.#current = this.#made(material);
    for (const server of this.#servers) server.setSecureContext(this.#current);
  }

  /** Keeps the server up to date, until what it returns is called. It must have been made with requestCert. */
  attach(server: Server): () => void {
    this.#servers.add(server);
    server.setSecureContext(this.#current);
    return () => void this.#servers.delete(server);
  }

  #made({ credentials, roots }: ContextMaterial): SecureContextOptions {
    const { protocol, key, nowMs } = this.#options;
    const ca = trustedRoots(roots, nowMs()).map(({ pem }) => pem);
    // Without this, Node would trust the public CAs instead.
    if (ca.length === 0) throw new IdentityError('invalid', 'the trust bundle has no root that is valid: join again');
    const context = { ...protocol, ca, key: credentials.privateKeyPem, cert: credentials.certificatePem };
    try {
      createSecureContext(context);
    } catch {
      throw new IdentityError('invalid', `${key}, its certificate or the trust bundle can not be used for TLS`);
    }
    return context;
  }
}
