// SPDX-License-Identifier: Apache-2.0
/**
 * How replicas' messages travel: over TLS on the mesh port, by an ALPN protocol of their own. Who calls sends words of
 * 4 bytes, big-endian, and behind each a ReplicaMessage (replication.proto) of so many bytes. 0 asks whether the other
 * end is there, which answers that it has come so far:
 *
 *   caller --------- length message length message 0 length message ---------> called
 *          <-- 0: it has taken the connection ------ 0: it has come to the question
 *
 * Nothing else comes back. What a broken connection lost, comparing vectors makes good.
 */
import { FRAME_LIMITS } from '../../../domain/replication/frame.js';

export const REPLICA_PROTOCOL = 'marcher-replica/1';

export const LENGTH_BYTES = 4;

/**
 * The greatest message is one frame of the greatest size, or a vector and a horizon of 65,536 origins (context.ts:
 * originsMax) beside 1 MiB of cells: 4 MiB and 2 MiB.
 */
export const MESSAGE_MAX_BYTES: number = FRAME_LIMITS.bytes + 8 * 1024 * 1024;
