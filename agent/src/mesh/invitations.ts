// SPDX-License-Identifier: Apache-2.0
/** Join tokens, as operators ask for them. */

import { hostPortText } from '../adapters/outbound/mesh/host-port.js';
import type { TokenRecord } from '../domain/identity/join-token.js';
import type { JoinTokenView, MeshUseCases } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { applicationError, type Part } from './part.js';

/** Throws ApplicationError. */
export function createToken(
  part: Part,
  { role, lifetimeMs }: Parameters<MeshUseCases['createToken']>[0],
  caller: Caller,
): ReturnType<MeshUseCases['createToken']> {
  const { identity, tokens, options } = part;
  if (identity.authority === undefined) {
    throw new ApplicationError(
      'refused',
      "this node does not hold the key of the mesh's CA: make the token on one that does",
    );
  }
  const rootFingerprint = identity.authority.certificate.fingerprint;
  try {
    const request = { role, lifetimeMs, createdBy: caller.author, rootFingerprint };
    const { text, record } = tokens.create(request, Date.now());
    options.log.info({ token: record.id, author: caller.author }, 'a join token was made');
    return { text, address: hostPortText(options.settings.address), token: viewOf(record) };
  } catch (error) {
    throw applicationError(error);
  }
}

export function listTokens({ tokens }: Part): readonly JoinTokenView[] {
  return tokens.list().map(viewOf);
}

/** Throws ApplicationError. */
export function revokeToken({ tokens, options }: Part, id: string, caller: Caller): void {
  if (!tokens.remove(id)) throw new ApplicationError('not_found', `there is no join token ${id}`);
  options.log.info({ token: id, author: caller.author }, 'a join token was revoked');
}

function viewOf({ id, role, createdMs, expiresMs, createdBy, used }: TokenRecord): JoinTokenView {
  return { id, role, createdMs, expiresMs, createdBy, ...(used === undefined ? {} : { usedBy: used.nodeId }) };
}
