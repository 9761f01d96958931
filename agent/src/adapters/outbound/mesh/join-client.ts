// SPDX-License-Identifier: Apache-2.0
/**
 * How a machine becomes a node by a join token: it pins the mesh's root, calls the token's home again as strictly as any
 * node would, and believes of the answer only what it can verify. Its key is made here and leaves in no message.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import {
  JoinService,
  type JoinGrant as WireGrant,
  type JoinResponse as WireResponse,
} from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { addressText, parseTarget } from '../../../domain/address.js';
import { GOSSIP_KEY_BYTES, GOSSIP_KEYS_MAX } from '../../../domain/identity/gossip-keyring.js';
import { intermediateFault, isIntermediate, parentOf } from '../../../domain/identity/issuer.js';
import { NODE_ROLES, parseToken } from '../../../domain/identity/join-token.js';
import { judgePeer } from '../../../domain/identity/peer.js';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import { firstRoot, issuers, ROOTS_MAX, type TrustedRoot, trustedRoots } from '../../../domain/identity/trust.js';
import { IdentityError } from '../../../ports/identity.js';
import type { JoinGrant } from '../../../ports/mesh.js';
import { CERTIFICATE_MAX_BYTES, factsOf, parseCertificate, readCertificate } from '../identity/certificate-facts.js';
import { meshNamedBy, meshOf } from '../identity/certificate-mesh.js';
import { joinOptions, refusalOf } from '../identity/mesh-tls.js';
import { createNodeRequest } from '../identity/node-request.js';
import { fetchPinnedRoot, type PinnedRoot } from '../identity/pinned-root.js';
import { hasSigned, pinnedByChain } from '../identity/root-statements.js';
import { type MeshTarget, textOf } from './mesh-dial.js';
import { openMeshSession } from './mesh-session.js';
import { rootRecordsOf } from './roots-client.js';

export interface JoinOptions {
  /** As the operator has pasted it. */
  readonly token: string;
  /** The mesh port of the node that made the token: "192.0.2.1:7400", "[2001:db8::1]:7400", "node1.example:7400". */
  readonly address: string;
  readonly name: string;
  readonly meshAddress: string;
  readonly gossipAddress: string;
  /** What its frames will be signed by, and the claim to it by the key that is made here (frame-keys.ts). */
  readonly frameKey: Uint8Array;
  readonly claim: (certificateKeyPem: string) => Uint8Array;
  /** For each of: to get the root, to connect, to be answered. */
  readonly timeoutMs: number;
}

export interface Joined {
  /**
   * Certificate, roots and gossip keys are verified. Revocation lists and nodes are as they came: whoever uses them judges
   * them as all others (readRevocations, unpackNodeRecord).
   */
  readonly grant: JoinGrant;
  /** PKCS #8. */
  readonly privateKeyPem: string;
  readonly meshId: string;
  readonly meshName: string;
  /** The one that the token names; also in grant.roots. */
  readonly root: TrustedRoot;
}

/** Thousands of nodes: a record is some KiB, a revocation list at most 1 MB. */
const ANSWER_MAX_BYTES = 32 * 1024 * 1024;
const REASON_MAX = 500;
/** Of each root one of each node that signs. */
const LISTS_MAX = 64;

/**
 * Fails as IdentityError: "invalid" (the token, the address, or what came back), "wrong-ca", "io" (nobody answers),
 * "refused" (with the reason), "limit" (slowed: later it may go).
 */
export async function join(options: JoinOptions, nowMs: () => number): Promise<Joined> {
  const { token, timeoutMs } = options;
  const parsed = parseToken(token);
  if (parsed.kind === 'fault') throw new IdentityError('invalid', parsed.reason);
  const target = targetOf(options.address);
  const { rootFingerprint, home } = parsed.token;
  const pinned = await pinnedRoot(target, rootFingerprint, timeoutMs, nowMs());
  const { privateKeyPem, request } = await createNodeRequest();
  const made = { certificateRequest: derOf(request), frameKeySignature: Uint8Array.from(options.claim(privateKeyPem)) };
  const answer = await ask(target, pinned, home, options, made, nowMs);
  const where = textOf(target);
  if (answer.case === 'refused') {
    const { reason, retryAfterMs } = answer.value;
    const said = `${where} does not let this machine join: ${reason.slice(0, REASON_MAX)}`;
    if (retryAfterMs === undefined) throw new IdentityError('refused', said);
    throw new IdentityError('limit', `${said} (not before ${Math.ceil(retryAfterMs / 1_000)} s have passed)`);
  }
  if (answer.case === undefined) throw broken(where, 'it is of a later version, or empty');
  const grant = verified(answer.value, pinned, privateKeyPem, where, nowMs());
  return { grant, privateKeyPem, meshId: pinned.meshId, meshName: pinned.meshName, root: pinned.root };
}

/** The root of the token, or one that it has introduced since: a token is good as long as its root is trusted. */
async function pinnedRoot(
  target: MeshTarget,
  rootFingerprint: string,
  timeoutMs: number,
  nowMs: number,
): Promise<PinnedRoot> {
  try {
    return await fetchPinnedRoot({ ...target, protocols: ['h2'], rootFingerprint, timeoutMs }, nowMs);
  } catch (error) {
    if (!(error instanceof IdentityError) || error.code !== 'wrong-ca') throw error;
    const records = await rootRecordsOf({ target, timeoutMs }).catch(() => []);
    const pinned = pinnedByChain(records, rootFingerprint, nowMs);
    if (pinned === undefined) throw error;
    if (trustedRoots([pinned.root], nowMs).length > 0) return pinned;
    const what = `the root that the join token names is not trusted by mesh "${pinned.meshName}" any more`;
    throw new IdentityError('wrong-ca', `${what}: make another token`);
  }
}

async function ask(
  target: MeshTarget,
  { meshId, roots }: PinnedRoot,
  home: string,
  { token, name, meshAddress, gossipAddress, frameKey, timeoutMs }: JoinOptions,
  made: { readonly certificateRequest: Uint8Array<ArrayBuffer>; readonly frameKeySignature: Uint8Array<ArrayBuffer> },
  nowMs: () => number,
): Promise<WireResponse['answer']> {
  const where = textOf(target);
  let asked = false;
  try {
    const session = await openMeshSession(target, { tls: joinOptions(meshId, roots, home, nowMs), timeoutMs });
    const over = new AbortController();
    session.http2.once('close', () => over.abort(new Error('it closed the connection')));
    try {
      const node = createClient(JoinService, session.transport(ANSWER_MAX_BYTES));
      const texts = { token: token.replaceAll(/\s/g, ''), name, meshAddress, gossipAddress };
      const request = { ...texts, ...made, frameKey: Uint8Array.from(frameKey) };
      asked = true;
      return (await node.join(request, { timeoutMs, signal: over.signal })).answer;
    } finally {
      session.http2.destroy();
      session.socket.destroySoon();
    }
  } catch (error) {
    throw explained(error, where, asked);
  }
}

/** asked: the token may have been spent, though no answer has come. */
function explained(error: unknown, where: string, asked: boolean): IdentityError {
  const message = (error instanceof ConnectError ? error.rawMessage : (error as Error).message).slice(0, REASON_MAX);
  const refusal = refusalOf(error);
  if (refusal !== undefined) {
    const fix = 'give the address of the node that made the token';
    return new IdentityError('wrong-ca', `${where} is not the node that the join token is of: ${message}; ${fix}`);
  }
  if (!asked) return new IdentityError('io', `can't connect to the mesh at ${where}: ${message}`);
  const code = error instanceof ConnectError ? error.code : undefined;
  if (code === Code.Internal) {
    return new IdentityError('refused', `${where} failed to let this machine join: ${message}`);
  }
  const fix = 'look there whether the token was used ("marcher mesh token"), and make another one if it was';
  return new IdentityError('io', `${where} did not answer the request to join: ${message}; ${fix}`);
}

function verified(
  grant: WireGrant,
  pinned: PinnedRoot,
  privateKeyPem: string,
  where: string,
  nowMs: number,
): JoinGrant {
  const { meshId, root } = pinned;
  const { nodeId, certificatePem, roots, revocationLists, gossipKeys, nodes, sealedAuthority } = grant;
  const role = NODE_ROLES.find((known) => known === grant.role);
  if (role === undefined) throw broken(where, `it names a role that this version does not know, "${grant.role}"`);
  if (roots.length === 0 || roots.length > ROOTS_MAX || revocationLists.length > LISTS_MAX) {
    throw broken(where, `it has ${roots.length} roots and ${revocationLists.length} revocation lists`);
  }
  const trusted = roots.map((pem) => rootOf(pem, meshId, where));
  const known = trusted.map(({ root }) => root);
  for (const each of known) checkIntermediate(each, known, meshId, where, nowMs);
  if (!known.some(({ certificate }) => certificate.fingerprint === root.certificate.fingerprint)) {
    throw broken(where, 'the root that the join token names is not among those that it has');
  }
  if (gossipKeys.length === 0 || gossipKeys.length > GOSSIP_KEYS_MAX) {
    throw broken(where, `it has ${gossipKeys.length} gossip keys`);
  }
  if (gossipKeys.some(({ length }) => length !== GOSSIP_KEY_BYTES)) {
    throw broken(where, `a gossip key has not ${GOSSIP_KEY_BYTES} bytes`);
  }
  // Judged as its peers will, so that what they would refuse is not found out one by one.
  const certificate = leafOf(certificatePem, where);
  const facts = factsOf(certificate);
  const signing = issuers(known, nowMs).find(({ certificate: { keyId } }) => keyId === facts.issuerKeyId);
  const signer = trusted.find(({ root }) => root === signing);
  if (signer === undefined || !certificate.verify(signer.parsed.publicKey)) {
    throw broken(where, 'its certificate was signed by none of the roots that it has');
  }
  if (!certificate.checkPrivateKey(createPrivateKey(privateKeyPem))) {
    throw broken(where, "its certificate is not of this machine's key");
  }
  const rules = { meshId, rootKeyIds: [signer.root.certificate.keyId], revocations: NO_REVOCATIONS, nodeId };
  for (const side of ['client', 'server'] as const) {
    const verdict = judgePeer({ certificate: facts, chainError: undefined }, { ...rules, role: side }, nowMs);
    if (verdict.kind === 'refused') throw broken(where, `its certificate is of no use: ${verdict.reason}`);
  }
  return { nodeId, role, certificatePem, roots, revocationLists, gossipKeys, nodes, sealedAuthority };
}

interface KnownRoot {
  readonly parsed: X509Certificate;
  readonly root: TrustedRoot;
}

function rootOf(pem: string, meshId: string, where: string): KnownRoot {
  let known: KnownRoot;
  let mesh: string | undefined;
  try {
    const parsed = parseCertificate(pem);
    const certificate = readCertificate(pem);
    mesh = isIntermediate(certificate) ? meshNamedBy(parsed)?.id : meshOf(pem).id;
    known = { parsed, root: firstRoot({ certificate, pem }) };
  } catch (error) {
    throw broken(where, `of a root that it has: ${(error as Error).message}`);
  }
  if (mesh !== meshId) throw broken(where, 'a root that it has is of another mesh');
  return known;
}

function checkIntermediate(
  { certificate, pem }: TrustedRoot,
  roots: readonly TrustedRoot[],
  meshId: string,
  where: string,
  nowMs: number,
): void {
  if (!isIntermediate(certificate)) return;
  const parent = parentOf(roots, certificate);
  if (parent === undefined) throw broken(where, 'an intermediate that it has is without its root');
  const fault = intermediateFault(certificate, meshId, parent.certificate, nowMs);
  const why = fault ?? (hasSigned(parent, pem) ? undefined : 'its root has not signed it');
  if (why !== undefined) throw broken(where, `of an intermediate that it has: ${why}`);
}

/** With an intermediate and its root behind it, the text may be as long as three. */
function leafOf(pem: string, where: string): X509Certificate {
  if (pem.length > 3 * CERTIFICATE_MAX_BYTES) throw broken(where, 'its certificate is too large');
  try {
    return new X509Certificate(pem);
  } catch {
    throw broken(where, 'its certificate can not be read');
  }
}

function broken(where: string, what: string): IdentityError {
  const fix = 'compare the versions of marcher, and join again with another token';
  return new IdentityError('invalid', `the answer of ${where} can not be used: ${what}; ${fix}`);
}

function targetOf(address: string): MeshTarget {
  const target = parseTarget(address);
  const wanted = 'write the mesh address of the node that made the token, such as "192.0.2.1:7400"';
  if (target.kind === 'failure') throw new IdentityError('invalid', `the address ${target.reason}: ${wanted}`);
  if (target.kind === 'unix' || target.port === 0) {
    throw new IdentityError('invalid', `the address "${address.slice(0, REASON_MAX)}" has no port: ${wanted}`);
  }
  return { host: target.kind === 'ip' ? addressText(target.address) : target.host, port: target.port };
}

function derOf(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64'));
}
