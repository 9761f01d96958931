// SPDX-License-Identifier: Apache-2.0
/**
 * grpc.health.v1. The empty name is the node: serving when it is ready for traffic. The names of the API's own
 * services are serving as long as anybody answers.
 * https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '@marcher/proto/grpc/health/v1/health_pb';
import type { NodeUseCases } from '../../../ports/use-cases.js';
import { pause } from './abortable-stream.js';

const watchIntervalMs = 1000;

export function routeHealthService(
  router: ConnectRouter,
  node: Pick<NodeUseCases, 'unreadiness'>,
  services: readonly string[],
): void {
  const statusOf = (service: string): ServingStatus => {
    if (service === '') return node.unreadiness().length === 0 ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    return services.includes(service) ? ServingStatus.SERVING : ServingStatus.SERVICE_UNKNOWN;
  };
  router.service(Health, {
    check(request) {
      const status = statusOf(request.service);
      if (status === ServingStatus.SERVICE_UNKNOWN) {
        throw new ConnectError(
          `there is no service "${request.service}": expected "" (the node) or one of ${services.join(', ')}`,
          Code.NotFound,
        );
      }
      return { status };
    },
    list() {
      return { statuses: Object.fromEntries(['', ...services].map((name) => [name, { status: statusOf(name) }])) };
    },
    async *watch(request, context) {
      let last: ServingStatus | undefined;
      do {
        const status = statusOf(request.service);
        if (status !== last) {
          last = status;
          yield { status };
        }
      } while (await pause(watchIntervalMs, context.signal));
      if (context.signal.reason instanceof ConnectError) throw context.signal.reason;
    },
  });
}
