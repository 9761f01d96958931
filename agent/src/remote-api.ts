// SPDX-License-Identifier: Apache-2.0
/**
 * The API for operators elsewhere, put together: whom it takes for one is the mesh's to say, what it shows is the node's
 * certificate or one of the operator's own in files. There as soon as this node is in a mesh.
 */
import { RemoteListener } from './adapters/inbound/grpc/remote-listener.js';
import { CertificateFiles } from './adapters/outbound/identity/certificate-files.js';
import type { MeshTlsMaterial } from './adapters/outbound/identity/mesh-tls.js';
import { OperatorTls } from './adapters/outbound/identity/operator-tls.js';
import type { NodeCondition } from './application/node.js';
import type { RemoteApiSettings } from './config.js';
import type { Authenticator } from './ports/access.js';

export interface RemoteApiOptions {
  readonly settings: RemoteApiSettings;
  readonly authenticator: Authenticator;
  readonly log: {
    debug(fields: object, message: string): void;
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export class RemoteApi {
  readonly listener: RemoteListener;
  readonly #options: RemoteApiOptions;
  readonly #files: CertificateFiles | undefined;
  /** Why the files as they are now are not used. */
  #fileFault: string | undefined;
  #material: MeshTlsMaterial | undefined;
  #tls: OperatorTls | undefined;

  /** Fails as IdentityError when the operator's own certificate can't be used. */
  constructor(options: RemoteApiOptions) {
    this.#options = options;
    const { settings, authenticator, log } = options;
    this.listener = new RemoteListener({ address: settings.address, authenticator, logger: log });
    if (settings.certificate === undefined) return;
    const handlers = {
      changed: () => {
        this.#show();
        log.info({ file: settings.certificate?.certificate }, "the API's certificate was replaced");
      },
      fault: (reason: string | undefined) => {
        this.#fileFault = reason;
        if (reason !== undefined)
          log.error({ reason }, "the API's certificate is not replaced by what is in its files");
      },
    };
    this.#files = new CertificateFiles(settings.certificate, handlers, Date.now);
    this.#files.start();
  }

  /** Users or keys of the mesh are others. */
  accessChanged(): void {
    this.listener.reviewSoon();
  }

  /** What the mesh says now. */
  take(material: MeshTlsMaterial): void {
    this.#material = material;
    this.#show();
  }

  conditions(): NodeCondition[] {
    const found: NodeCondition[] = [];
    const add = (reason: string, message: string): void => {
      found.push({ type: 'RemoteApi', status: false, reason, message });
    };
    if (this.#material === undefined) {
      add('NoMesh', 'the API is not there for operators elsewhere before this node is in a mesh');
    }
    if (this.listener.fault !== undefined) add('NotListening', this.listener.fault);
    if (this.#fileFault !== undefined) add('CertificateNotReplaced', this.#fileFault);
    return found;
  }

  /** Whether the files have changed: now, and not within a second. */
  look(): void {
    this.#files?.look();
  }

  stop(): void {
    this.#files?.stop();
  }

  #show(): void {
    if (this.#material === undefined) return;
    const credentials = this.#files?.current ?? this.#material.credentials;
    const material = { ...this.#material, credentials };
    try {
      if (this.#tls === undefined) {
        this.#tls = new OperatorTls(material, Date.now);
        this.listener.use(this.#tls);
      } else {
        this.#tls.update(material);
        this.listener.judgeAgain();
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.error({ reason }, 'the API goes on with the certificate and the roots that it had');
    }
  }
}
