// SPDX-License-Identifier: Apache-2.0
/**
 * What a node has heard of roots, and a CA's key from one that holds it. Roots are asked for by whoever does not trust the
 * other end, or is not trusted by it: nothing is believed but what signatures prove (domain/identity/root-chain.ts). Keys
 * travel over TLS of the mesh.
 */
import type { ConnectionOptions } from 'node:tls';
import { ConnectError, createClient } from '@connectrpc/connect';
import { JoinService, PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { rootRecordOf } from '../../../application/mesh/roots.js';
import type { RootRecord } from '../../../domain/identity/root-statement.js';
import { KNOWN_ROOTS_MAX } from '../../../domain/identity/trust.js';
import { IdentityError } from '../../../ports/identity.js';
import { type MeshTls, PROTOCOL } from '../identity/mesh-tls.js';
import { type MeshTarget, textOf } from './mesh-dial.js';
import { type MeshSession, openMeshSession } from './mesh-session.js';

/** 64 roots, each endorsed by up to 8. */
const ROOTS_ANSWER_BYTES = 512 * 1024;
const KEY_ANSWER_BYTES = 80 * 1024;

/** As a stranger, of a stranger. Fails as IdentityError: "io", "invalid". */
export async function rootRecordsOf({
  target,
  timeoutMs,
}: {
  readonly target: MeshTarget;
  readonly timeoutMs: number;
}): Promise<readonly RootRecord[]> {
  const failed = (code: IdentityError['code'], reason: string): IdentityError =>
    new IdentityError(code, `${textOf(target)} did not tell its roots: ${reason.slice(0, 500)}`);
  return await over(target, { ...PROTOCOL, rejectUnauthorized: false }, timeoutMs, failed, async (session) => {
    const client = createClient(JoinService, session.transport(ROOTS_ANSWER_BYTES));
    const { roots } = await client.roots({}, { timeoutMs });
    if (roots.length > KNOWN_ROOTS_MAX) throw failed('invalid', `it has ${roots.length}`);
    return roots.flatMap((message) => rootRecordOf(message) ?? []);
  });
}

export interface AuthorityKeyOptions {
  readonly target: MeshTarget;
  /** Id of the node there. */
  readonly holder: string;
  /** Fingerprint. */
  readonly root: string;
  readonly mesh: MeshTls;
  readonly timeoutMs: number;
}

/** Sealed, as it is on disk there. Fails as IdentityError: "io", "refused". */
export async function authorityKeyOf(options: AuthorityKeyOptions): Promise<string> {
  const { target, holder, root, mesh, timeoutMs } = options;
  const failed = (code: IdentityError['code'], reason: string): IdentityError =>
    new IdentityError(code, `${textOf(target)} did not give the key of the CA: ${reason.slice(0, 500)}`);
  return await over(target, mesh.dialOptions(holder), timeoutMs, failed, async (session) => {
    const client = createClient(PeerService, session.transport(KEY_ANSWER_BYTES));
    return (await client.authorityKey({ root }, { timeoutMs })).sealedAuthority;
  });
}

async function over<T>(
  target: MeshTarget,
  tls: ConnectionOptions,
  timeoutMs: number,
  failed: (code: IdentityError['code'], reason: string) => IdentityError,
  use: (session: MeshSession) => Promise<T>,
): Promise<T> {
  try {
    const session = await openMeshSession(target, { tls, timeoutMs });
    try {
      return await use(session);
    } finally {
      session.http2.destroy();
      session.socket.destroySoon();
    }
  } catch (error) {
    if (error instanceof IdentityError) throw error;
    if (error instanceof ConnectError) throw failed('refused', error.rawMessage);
    throw failed('io', (error as Error).message);
  }
}
