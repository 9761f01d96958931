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
export async function fetchPinnedRoot(
  target: Target & { kind: 'tls' },
  fingerprint: string,
  timeoutMs: number,
): Promise<string> {
  const root = (await shownRoots(target, timeoutMs)).find((each) => fingerprintOf(each) === fingerprint);
  if (root !== undefined) return root.toString();
  const fix = 'compare it with what marcher mesh certificate roots says there, and check the address';
  const message = `${formatTarget(target)} is not of the mesh whose root is ${fingerprint}: ${fix}`;
  throw new AgentError('untrusted', message, [], undefined);
}

/**
 * The roots in what the agent shows, of which nothing is proven: for somebody who compares a fingerprint. Fails as AgentError
 * 'unreachable'.
 */
export function shownRoots(target: Target & { kind: 'tls' }, timeoutMs: number): Promise<readonly X509Certificate[]> {
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
    const finish = (outcome: readonly X509Certificate[] | AgentError): void => {
      clearTimeout(timer);
      // Not before the handshake's last message is out: the agent would log a broken one.
      socket.destroySoon();
      if (outcome instanceof AgentError) reject(outcome);
      else resolve(outcome);
    };
    const unreachable = (reason: string): void => {
      const message = `${where} ${reason}: is it the port of an agent's API (marcherd --api)?`;
      finish(new AgentError('unreachable', message, [], undefined));
    };
    const timer = setTimeout(() => unreachable(`did not answer within ${timeoutMs} ms`), timeoutMs);
    socket.on('error', (error) => unreachable(`can't be asked for its root (${error.message})`));
    socket.on('close', () => unreachable('has closed the connection'));
    socket.once('secureConnect', () => finish(rootsIn(socket.getPeerX509Certificate())));
  });
}

function rootsIn(leaf: X509Certificate | undefined): readonly X509Certificate[] {
  const roots: X509Certificate[] = [];
  let certificate = leaf;
  for (let depth = 0; certificate !== undefined && depth < CHAIN_MAX; depth++) {
    // A leaf's own fingerprint would pin that leaf alone, and an intermediate is replaced.
    if (certificate.ca && certificate.checkIssued(certificate)) roots.push(certificate);
    const issuer: X509Certificate | undefined = certificate.issuerCertificate;
    if (issuer?.fingerprint256 === certificate.fingerprint256) break;
    certificate = issuer;
  }
  return roots;
}
