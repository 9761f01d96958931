// SPDX-License-Identifier: Apache-2.0
/** What strangers show when they want to join, and what is believed of nodes by what is signed. */
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { checkNodeRequest, createNodeRequest } from '../adapters/outbound/identity/node-request.js';
import { readRevocations } from '../adapters/outbound/identity/revocation-list.js';
import { rootOf, testAuthority, testNode } from '../adapters/outbound/identity/testing/mesh.js';
import { FrameVerifier } from '../adapters/outbound/mesh/frame-keys.js';
import { formatToken, parseToken, TOKEN } from '../domain/identity/join-token.js';
import { nodeNumber } from '../domain/identity/names.js';
import { frameKeyClaim, packNodeRecord, unpackNodeRecord } from '../domain/mesh/node-record.js';
import { IdentityError } from '../ports/identity.js';
import { must, type Target } from './target.js';

const NODE = '00000000000000b2';

async function refusedOrSound(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
  }
}

const derOf = (pem: string): Uint8Array => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');

/** Keys are new each time, so what is found must be kept as bytes. */
export async function identityTargets(): Promise<readonly Target[]> {
  const nowMs = Date.now();
  const authority = await testAuthority(nowMs);
  const root = rootOf(authority);
  const node = await testNode(authority, NODE, nowMs);
  const certificate = new Uint8Array(new X509Certificate(node.certificatePem).raw);
  const { request } = await createNodeRequest();
  const revocations = new Map(['1a', '2b'].map((serial) => [serial, { serial, revokedAtMs: nowMs, reason: 1 }]));
  const list = await authority.signRevocations(revocations, 7n, nowMs);
  const frameKey = Buffer.from(generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const frameKeySignature = sign('sha384', frameKeyClaim(frameKey), {
    key: node.privateKeyPem,
    dsaEncoding: 'ieee-p1363',
  });
  const record = packNodeRecord({
    ...{ nodeId: NODE, name: 'node2', meshAddress: '192.0.2.2:7400', gossipAddress: '192.0.2.2:7401' },
    ...{ certificates: [certificate], frameKey: Uint8Array.from(frameKey), role: 'member', removedMs: 0n },
    frameKeySignature: Uint8Array.from(frameKeySignature),
  });
  const token = formatToken({
    home: NODE,
    id: '0'.repeat(2 * TOKEN.idBytes),
    secret: new Uint8Array(TOKEN.secretBytes).fill(5),
    rootFingerprint: authority.certificate.fingerprint,
  });
  return [
    {
      name: 'certificate-request',
      bytesMax: 2_048,
      seeds: [derOf(request)],
      run: (input) => refusedOrSound(checkNodeRequest(input)),
    },
    {
      name: 'revocation-list',
      bytesMax: 2_048,
      seeds: [derOf(list.pem)],
      run: (input) => {
        const pem = `-----BEGIN X509 CRL-----\n${Buffer.from(input).toString('base64')}\n-----END X509 CRL-----\n`;
        return refusedOrSound(readRevocations(pem, [root], nowMs));
      },
    },
    {
      name: 'node-record',
      bytesMax: 8_192,
      seeds: [record],
      run(input) {
        const read = unpackNodeRecord(NODE, input);
        if (read === undefined) return;
        must(read.nodeId === NODE && !/[\n"]/.test(read.name), 'it is a record of another, or has no name');
        const verifier = new FrameVerifier(authority.mesh.id, () => {});
        verifier.update([read], [root]);
        must(!verifier.verify(nodeNumber(NODE), new Uint8Array(32), new Uint8Array(64)), 'nothing is a signature');
      },
    },
    {
      name: 'join-token',
      bytesMax: 2_048,
      seeds: [Buffer.from(token)],
      run(input) {
        const text = Buffer.from(input).toString('latin1');
        const parsed = parseToken(text);
        // Shorter pieces may be in any sentence by chance.
        const piece = text.slice(20, 60);
        if (parsed.kind === 'fault') {
          must(piece.length < 12 || !parsed.reason.includes(piece), 'the reason quotes the token');
        } else must(formatToken(parsed.token) === text.replaceAll(/\s/g, '').toLowerCase(), 'two texts are one token');
      },
    },
  ];
}
