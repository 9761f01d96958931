// SPDX-License-Identifier: Apache-2.0
/**
 * How a joiner gets the mesh's root from a server that it does not trust yet: it shakes hands, says nothing, and keeps the
 * root only when its SHA-256 is that of the token. Then it calls again by joinOptions(), and is as strict as any node.
 */
import type { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { intermediateFault } from '../../../domain/identity/issuer.js';
import { validityAt } from '../../../domain/identity/lifetime.js';
import { firstRoot, type TrustedRoot } from '../../../domain/identity/trust.js';
import { IdentityError } from '../../../ports/identity.js';
import { factsOf } from './certificate-facts.js';
import { meshOf } from './certificate-mesh.js';
import { PROTOCOL } from './mesh-tls.js';
import { hasSigned } from './root-statements.js';

export interface PinnedRoot {
  readonly meshId: string;
  readonly meshName: string;
  /** That which the token names. */
  readonly root: TrustedRoot;
  /** With those that it has introduced, as far as they are trusted. */
  readonly roots: readonly TrustedRoot[];
}

export interface PinTarget {
  readonly host: string;
  readonly port: number;
  /** What the listener speaks, such as ['h2']. */
  readonly protocols: readonly string[];
  /** SHA-256 in hex, from the token. */
  readonly rootFingerprint: string;
  readonly timeoutMs: number;
}

/** A leaf, an intermediate where the root is kept offline, and the root. */
const CHAIN_MAX = 3;

/** Fails as IdentityError "wrong-ca", "io" (nobody answers), "invalid". */
export function fetchPinnedRoot(target: PinTarget, nowMs: number): Promise<PinnedRoot> {
  const { host, port, protocols, rootFingerprint, timeoutMs } = target;
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new Promise((resolve, reject) => {
    // Nothing is believed but what the fingerprint proves.
    const socket = connect({ ...PROTOCOL, host, port, ALPNProtocols: [...protocols], rejectUnauthorized: false });
    const finish = (error: IdentityError | undefined, found?: PinnedRoot): void => {
      clearTimeout(timer);
      // Not before the handshake's last message is out: the server would log a broken one.
      socket.destroySoon();
      if (found !== undefined) resolve(found);
      else reject(error);
    };
    const timer = setTimeout(() => {
      finish(new IdentityError('io', `${where} did not answer within ${timeoutMs} ms: is it the mesh port of a node?`));
    }, timeoutMs);
    socket.on('error', (error) =>
      finish(new IdentityError('io', `can't reach the mesh at ${where}: ${error.message}`)),
    );
    socket.on('close', () =>
      finish(new IdentityError('io', `${where} closed the connection: is it the mesh port of a node?`)),
    );
    socket.once('secureConnect', () => {
      try {
        finish(undefined, pin(socket.getPeerX509Certificate(), rootFingerprint, where, nowMs));
      } catch (error) {
        finish(
          error instanceof IdentityError ? error : new IdentityError('invalid', `${where} has no usable certificate`),
        );
      }
    });
  });
}

function pin(leaf: X509Certificate | undefined, fingerprint: string, where: string, nowMs: number): PinnedRoot {
  let certificate = leaf;
  const between: X509Certificate[] = [];
  for (let depth = 0; certificate !== undefined && depth < CHAIN_MAX; depth++) {
    const facts = factsOf(certificate);
    if (facts.fingerprint === fingerprint) {
      const pem = certificate.toString();
      const { id, name } = meshOf(pem);
      if (validityAt(facts, nowMs) !== 'valid') {
        throw new IdentityError(
          'invalid',
          `the root certificate of ${where} is not valid now: check this node's clock`,
        );
      }
      const root = firstRoot({ certificate: facts, pem });
      return { meshId: id, meshName: name, root, roots: [root, ...intermediates(between, root, id, nowMs)] };
    }
    if (certificate.ca) between.push(certificate);
    const issuer: X509Certificate | undefined = certificate.issuerCertificate;
    if (issuer?.fingerprint256 === certificate.fingerprint256) break;
    certificate = issuer;
  }
  const fix = 'check the address, and that the token was made by a node of that mesh';
  throw new IdentityError('wrong-ca', `${where} is not of the mesh that the join token is for: ${fix}`);
}

/** Which of them the pinned root has signed: TLS proves on the next call that the server's certificate is of one. */
function intermediates(
  between: readonly X509Certificate[],
  root: TrustedRoot,
  meshId: string,
  nowMs: number,
): TrustedRoot[] {
  return between.flatMap((certificate) => {
    const pem = certificate.toString();
    const facts = factsOf(certificate);
    const sound = intermediateFault(facts, meshId, root.certificate, nowMs) === undefined && hasSigned(root, pem);
    return sound ? [firstRoot({ certificate: facts, pem })] : [];
  });
}
