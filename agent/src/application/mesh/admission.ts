// SPDX-License-Identifier: Apache-2.0
/**
 * Lets machines into the mesh: whoever shows a token that was made here gets a certificate, the keys of gossip and the
 * list of nodes, and is one of them from then on. The token is asked for first, so that whoever has none learns nothing of
 * the mesh and costs next to nothing, and spent last, when nothing else can be refused.
 */

import type { NodeRole } from '../../domain/identity/join-token.js';
import type { Revocations } from '../../domain/identity/revocation.js';
import { isRecordText, type NodeRecord } from '../../domain/mesh/node-record.js';
import { type CertificateAuthority, IdentityError } from '../../ports/identity.js';
import type { Admit, JoinAnswer, JoinGrant, JoinRequest } from '../../ports/mesh.js';
import { ApplicationError } from '../../ports/use-cases.js';

export type Attempted =
  | { readonly kind: 'good' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'slowed'; readonly retryAfterMs: number; readonly reason: string };

export type Redeemed =
  | {
      readonly kind: 'redeemed';
      readonly nodeId: string;
      readonly role: NodeRole;
      /** That the token's maker has put it into. */
      readonly clusters?: readonly string[];
    }
  | { readonly kind: 'refused'; readonly reason: string };

export interface AdmissionParts {
  /** undefined: this node does not hold the CA's key. */
  readonly authority: () => CertificateAuthority | undefined;
  /** Whether the token is good; bounded in how often it may be asked. */
  readonly attempt: (token: string, source: string, nowMs: number) => Attempted;
  /** Spends it. */
  readonly redeem: (token: string, nowMs: number) => Redeemed;
  /** Fails as IdentityError "invalid". */
  readonly checkRequest: (request: Uint8Array) => Promise<unknown>;
  readonly revocations: () => Revocations;
  readonly nodes: () => ReadonlyMap<string, NodeRecord>;
  /** Makes it known to all; throws ApplicationError. */
  readonly add: (record: NodeRecord, author: string, clusters: readonly string[]) => void;
  /** What every node is given. */
  readonly shared: () => Pick<JoinGrant, 'roots' | 'revocationLists' | 'gossipKeys'>;
  /** The CA's key as it is on disk, sealed. */
  readonly sealedAuthority: () => string;
  /** Of PEM, the first certificate as DER. */
  readonly derOf: (pem: string) => Uint8Array;
  readonly nowMs: () => number;
  /** Of who has joined. Who was refused the mesh port tells, in bounded lines: strangers could fill a log by these. */
  readonly log: { info(fields: object, message: string): void };
}

export function admission(parts: AdmissionParts): Admit {
  return async (request, source) => {
    const answer = await decide(parts, request, source);
    if (answer.kind === 'granted') {
      parts.log.info({ name: request.name, source, node: answer.grant.nodeId }, 'a node has joined the mesh');
    }
    return answer;
  };
}

async function decide(parts: AdmissionParts, request: JoinRequest, source: string): Promise<JoinAnswer> {
  const authority = parts.authority();
  if (authority === undefined) {
    return refused("this node does not hold the key of the mesh's CA: make the token on one that does, and join there");
  }
  const { name, meshAddress, gossipAddress, frameKey, frameKeySignature } = request;
  const attempted = parts.attempt(request.token, source, parts.nowMs());
  if (attempted.kind === 'slowed') {
    return { kind: 'refused', reason: attempted.reason, retryAfterMs: attempted.retryAfterMs };
  }
  if (attempted.kind === 'refused') return refused(attempted.reason);
  if (!isRecordText(request)) return refused('its name or its addresses are not such as nodes have: upgrade it');
  const taken = [...parts.nodes().values()].find(
    (record) => record.name === name || record.meshAddress === meshAddress,
  );
  if (taken !== undefined) {
    const what = taken.name === name ? `the name ${JSON.stringify(name)}` : `the address ${meshAddress}`;
    const fix = `choose another, or remove that node first: marcher mesh remove ${taken.nodeId}`;
    return refused(`node ${taken.nodeId} of the mesh has ${what}: ${fix}`);
  }
  try {
    await parts.checkRequest(request.certificateRequest);
  } catch (error) {
    if (error instanceof IdentityError) return refused(error.message);
    throw error;
  }
  const nowMs = parts.nowMs();
  const redeemed = parts.redeem(request.token, nowMs);
  if (redeemed.kind === 'refused') return refused(redeemed.reason);
  const { nodeId, role, clusters = [] } = redeemed;
  try {
    const { pem } = await authority.issueNode(request.certificateRequest, nodeId, parts.revocations(), nowMs);
    const certificates = [parts.derOf(pem)];
    const texts = { name, meshAddress, gossipAddress };
    const record = { nodeId, ...texts, certificates, frameKey, frameKeySignature, role, removedMs: 0n };
    parts.add(record, `join:${source}`, clusters);
    const nodes = [...parts.nodes().values()];
    const sealedAuthority = role === 'authority' ? parts.sealedAuthority() : '';
    const grant = { nodeId, role, certificatePem: pem, ...parts.shared(), nodes, sealedAuthority };
    return { kind: 'granted', grant };
  } catch (error) {
    // The token is spent all the same: whoever sees this failure could else try it again and again.
    if (error instanceof IdentityError || error instanceof ApplicationError) {
      return refused(`${error.message}; the token is spent: make another`);
    }
    throw error;
  }
}

function refused(reason: string): JoinAnswer {
  return { kind: 'refused', reason };
}
