// SPDX-License-Identifier: Apache-2.0
/** NodeService over the node's use cases. */
import type { ConnectRouter } from '@connectrpc/connect';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import type { NodeUseCases } from '../../../ports/use-cases.js';
import { callerOf } from './config-api.js';
import { invalidArgument } from './errors.js';

export function routeNodeService(router: ConnectRouter, node: NodeUseCases): void {
  const { method } = NodeService;
  router.rpc(method.status, ({ withTraffic }) => node.status({ withTraffic }));
  router.rpc(method.tiers, (request) => node.tiers(request.service));
  router.rpc(method.drain, async (request, context) => ({
    connections: BigInt(await node.drain(target(request), callerOf(context))),
  }));
  router.rpc(method.undrain, async (request, context) => {
    await node.undrain(target(request), callerOf(context));
    return {};
  });
  router.rpc(method.backends, async (request) => ({ backends: await node.backends(request.service) }));
}

function target(request: { service: string; backend: string }): { service: string; backend: string } {
  if ((request.service === '') !== (request.backend === '')) {
    throw invalidArgument(
      'service and backend go together: name both to drain one backend of a service, neither to drain the node',
    );
  }
  return { service: request.service, backend: request.backend };
}
