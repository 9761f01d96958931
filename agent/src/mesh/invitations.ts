// SPDX-License-Identifier: Apache-2.0
/** Join tokens, as operators ask for them. */
import { readCertificate } from '../adapters/outbound/identity/certificate-facts.js';
import { hostPortText } from '../adapters/outbound/mesh/host-port.js';
import { guarded } from '../application/unavailable.js';
import { ACTION } from '../domain/audit/actions.js';
import { anchorOf } from '../domain/identity/issuer.js';
import type { TokenRecord } from '../domain/identity/join-token.js';
import { CLUSTER_LIMITS } from '../domain/mesh/cluster.js';
import type { Told } from '../ports/audit.js';
import type { JoinTokenView, MeshUseCases } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import { clusterNamed } from './clusters.js';
import { applicationError, type Part } from './part.js';

/** Throws ApplicationError. */
export function createToken(
  part: Part,
  { role, lifetimeMs, clusters = [] }: Parameters<MeshUseCases['createToken']>[0],
  caller: Caller,
): ReturnType<MeshUseCases['createToken']> {
  const { identity, tokens, options } = part;
  if (identity.authority === undefined) {
    throw new ApplicationError(
      'refused',
      "this node does not hold the key of the mesh's CA: make the token on one that does",
    );
  }
  const rootFingerprint = rootOfOwn(part) ?? identity.authority.certificate.fingerprint;
  try {
    const request = { role, lifetimeMs, clusters: namesOf(part, clusters), createdBy: caller.author, rootFingerprint };
    const { text, record } = tokens.create(request, Date.now());
    tellToken(part, record.id, caller);
    options.log.info({ token: record.id, author: caller.author }, 'a join token was made');
    return { text, address: hostPortText(options.settings.address), token: viewOf(record) };
  } catch (error) {
    throw applicationError(error);
  }
}

/** Throws ApplicationError: what a token promises is there when it is made. */
function namesOf(part: Part, clusters: readonly string[]): readonly string[] {
  const names = [...new Set(clusters)].map((name) => clusterNamed(part, name).name);
  if (names.length <= CLUSTER_LIMITS.ofNode) return names;
  const what = `${names.length} clusters, and a node is in ${CLUSTER_LIMITS.ofNode} at most`;
  throw new ApplicationError('invalid', `the token would be for ${what}`);
}

/** At the end of the chain that this node shows to a joiner: another may sign by now. */
function rootOfOwn({ identity, credentials }: Part): string | undefined {
  const { issuerKeyId } = readCertificate(credentials.certificatePem);
  const issuer = identity.roots.find(({ certificate }) => certificate.keyId === issuerKeyId);
  return issuer && anchorOf(identity.roots, issuer)?.certificate.fingerprint;
}

export function listTokens({ tokens }: Part): readonly JoinTokenView[] {
  return tokens.list().map(viewOf);
}

/** Throws ApplicationError. */
export function revokeToken(part: Part, id: string, caller: Caller): void {
  const { tokens, options } = part;
  if (!tokens.list().some((record) => record.id === id)) {
    throw new ApplicationError('not_found', `there is no join token ${id}`);
  }
  const told: Told = { action: ACTION.revokeJoinToken, by: caller, objects: [`JoinToken/${id}`] };
  // Tokens are a file of their own: what can't be told is not done.
  guarded(() => tell(part, 'done', told));
  try {
    tokens.remove(id);
  } catch (error) {
    guarded(() => tell(part, 'failed', { ...told, message: String(error) }));
    throw applicationError(error);
  }
  options.log.info({ token: id, author: caller.author }, 'a join token was revoked');
}

/** Nobody has its text yet: it goes again if it can't be told of. */
function tellToken(part: Part, id: string, by: Caller): void {
  try {
    guarded(() => tell(part, 'done', { action: ACTION.createJoinToken, by, objects: [`JoinToken/${id}`] }));
  } catch (error) {
    part.tokens.remove(id);
    throw error;
  }
}

function viewOf({ id, role, createdMs, expiresMs, createdBy, used, clusters = [] }: TokenRecord): JoinTokenView {
  return {
    id,
    role,
    createdMs,
    expiresMs,
    createdBy,
    clusters,
    ...(used === undefined ? {} : { usedBy: used.nodeId }),
  };
}
