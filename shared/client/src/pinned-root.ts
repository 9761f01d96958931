// SPDX-License-Identifier: Apache-2.0
/**
 * The root of a mesh from an agent that is not trusted yet: by a handshake after which nothing is said, and kept only when
 * its SHA-256 is the one that somebody who knows the mesh has given.
 */
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import { AgentError } from './errors.js';
import { formatTarget, type Target } from './target.js';

/** A leaf, an intermediate where the root is kept offline, and the root. */
const CHAIN_MAX = 3;

/** SHA-256 of a certificate, as 64 hex digits; colons as OpenSSL prints them are taken. undefined: it is none. */
export function parseFingerprint(text: string): string | undefined {
  const digits = text.replaceAll(':', '').toLowerCase();
  return /^[0-9a-f]{64}$/.test(digits) ? digits : undefined;
}

export function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}

/** PEM. Fails as AgentError: "untrusted" when the agent shows no such root. */
export function fetchPinnedRoot(
  target: Target & { kind: 'tls' },
  fingerprint: string,
  timeoutMs: number,
): Promise<string> {
  const { host, port } = target;
  const where = formatTarget(target);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2'],
      // Nothing is believed but what the fingerprint proves.
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const finish = (outcome: string | AgentError): void => {
      clearTimeout(timer);
      // Not before the handshake's last message is out: the agent would log a broken one.
      socket.destroySoon();
      if (typeof outcome === 'string') resolve(outcome);
      else reject(outcome);
    };
    const unreachable = (reason: string): void => {
      finish(
        new AgentError(
          'unreachable',
          `${where} ${reason}: is it the port of an agent's API (marcherd --api)?`,
          [],
          undefined,
        ),
      );
    };
    const timer = setTimeout(() => unreachable(`did not answer within ${timeoutMs} ms`), timeoutMs);
    socket.on('error', (error) => unreachable(`can't be asked for its root (${error.message})`));
    socket.on('close', () => unreachable('has closed the connection'));
    socket.once('secureConnect', () => {
      const root = rootIn(socket.getPeerX509Certificate(), fingerprint);
      if (root !== undefined) finish(root.toString());
      else {
        const fix = 'compare it with what marcher mesh certificate roots says there, and check the address';
        finish(
          new AgentError(
            'untrusted',
            `${where} is not of the mesh whose root is ${fingerprint}: ${fix}`,
            [],
            undefined,
          ),
        );
      }
    });
  });
}

function rootIn(leaf: X509Certificate | undefined, fingerprint: string): X509Certificate | undefined {
  let certificate = leaf;
  for (let depth = 0; certificate !== undefined && depth < CHAIN_MAX; depth++) {
    // A leaf's own fingerprint would pin that leaf alone, and an intermediate is replaced.
    const isRoot = certificate.ca && certificate.checkIssued(certificate);
    if (isRoot && fingerprintOf(certificate) === fingerprint) return certificate;
    const issuer: X509Certificate | undefined = certificate.issuerCertificate;
    if (issuer?.fingerprint256 === certificate.fingerprint256) return undefined;
    certificate = issuer;
  }
  return undefined;
}
