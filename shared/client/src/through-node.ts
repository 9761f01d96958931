// SPDX-License-Identifier: Apache-2.0
/**
 * Calls about another member, which the agent that is connected passes on to it: a header names the member.
 *
 * An agent of before takes no notice of the header, and would answer for itself, or drain itself. So the first call of all
 * asks who answers, and nothing else goes out before it was the member.
 */
import { type Client, Code, ConnectError, type Interceptor } from '@connectrpc/connect';
import type { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';

const NODE_HEADER = 'marcher-node';
/** Longer than an agent takes to find out that the member does not answer. */
const ASK_MS = 20_000;

/** mesh: of the agent that is connected. Calls fail with UNIMPLEMENTED where that passes none on. */
export function throughNode(nodeId: string, mesh: Pick<Client<typeof MeshService>, 'getMesh'>): Interceptor {
  const headers = { [NODE_HEADER]: nodeId };
  let proven: Promise<void> | undefined;
  const prove = async (): Promise<void> => {
    const { mesh: answered } = await mesh.getMesh({}, { headers, timeoutMs: ASK_MS });
    if (answered?.nodeId === nodeId) return;
    const reason = `this agent passes no calls on to node ${nodeId}: it is of an earlier version; call that node itself`;
    throw new ConnectError(reason, Code.Unimplemented);
  };
  return (next) => async (request) => {
    proven ??= prove();
    const asked = proven;
    try {
      await asked;
    } catch (error) {
      // The next call asks again.
      if (proven === asked) proven = undefined;
      throw error;
    }
    request.header.set(NODE_HEADER, nodeId);
    return await next(request);
  };
}
