// SPDX-License-Identifier: Apache-2.0
/** How a node gets keys of gossip from another: over TLS of the mesh, as the node that its certificate says it is. */
import { ConnectError, createClient } from '@connectrpc/connect';
import { PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { targetOf } from '../../../application/mesh/gossip-keys.js';
import { GOSSIP_KEY_BYTES, GOSSIP_KEYS_MAX } from '../../../domain/identity/gossip-keyring.js';
import { IdentityError } from '../../../ports/identity.js';
import type { GossipKeysAnswer } from '../../../ports/mesh.js';
import type { MeshTls } from '../identity/mesh-tls.js';
import { gossipKey } from '../identity/new-ids.js';
import { type MeshTarget, textOf } from './mesh-dial.js';
import { openMeshSession } from './mesh-session.js';

export interface KeysOptions {
  readonly target: MeshTarget;
  /** Id of the node there. */
  readonly holder: string;
  readonly mesh: MeshTls;
  readonly timeoutMs: number;
}

/** Its keys, and whom the newest is withheld from. */
const ANSWER_MAX_BYTES = 64 * 1024;

/** Fails as IdentityError: "io" (nobody answers), "refused", "invalid". */
export async function gossipKeysOf({ target, holder, mesh, timeoutMs }: KeysOptions): Promise<GossipKeysAnswer> {
  const failed = (code: IdentityError['code'], reason: string): IdentityError =>
    new IdentityError(code, `${textOf(target)} did not give the keys of gossip: ${reason.slice(0, 500)}`);
  try {
    const session = await openMeshSession(target, { tls: mesh.dialOptions(holder), timeoutMs });
    try {
      const client = createClient(PeerService, session.transport(ANSWER_MAX_BYTES));
      const answer = await client.gossipKeys({}, { timeoutMs });
      const { keys, primary } = answer;
      if (keys.length > GOSSIP_KEYS_MAX || keys.some(({ length }) => length !== GOSSIP_KEY_BYTES)) {
        throw failed('invalid', 'what it sent are none');
      }
      return { keys: keys.map(gossipKey), primary, target: answer.target && targetOf(answer.target) };
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
