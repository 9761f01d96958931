// SPDX-License-Identifier: Apache-2.0
/**
 * TrafficService over the traffic use cases. Streams take the next message only when the client has taken the last
 * one, so a slow client costs one message, and the source counts what it dropped meanwhile.
 */
import { timestampNow } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter } from '@connectrpc/connect';
import { ConnectError } from '@connectrpc/connect';
import { LogKind, TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { TrafficUseCases } from '../../../ports/use-cases.js';
import { pause, untilAborted } from './abortable-stream.js';
import { invalidArgument } from './errors.js';

const statsIntervalMinMs = 100;
const statsIntervalMaxMs = 3_600_000;
const connectionsDefault = 1000;
const connectionsMax = 10_000;
const tailDefault = 100;
const tailMax = 10_000;

export function routeTrafficService(router: ConnectRouter, traffic: TrafficUseCases): void {
  const { method } = TrafficService;
  router.rpc(method.stats, async function* (request, context) {
    const interval = request.intervalMs;
    if (interval !== 0 && (interval < statsIntervalMinMs || interval > statsIntervalMaxMs)) {
      throw invalidArgument(
        `interval_ms is ${interval}: expected 0 (one answer) or ${statsIntervalMinMs} to ${statsIntervalMaxMs}`,
      );
    }
    let due = performance.now();
    do {
      yield {
        time: timestampNow(),
        services: traffic.stats(request.service, request.backends),
        eventsDropped: traffic.eventsDropped,
      };
      // A slow reader skips beats and does not get them in a burst afterwards.
      due = Math.max(due + interval, performance.now());
    } while (interval !== 0 && (await pause(due - performance.now(), context.signal)));
    if (interval !== 0 && context.signal.reason instanceof ConnectError) throw context.signal.reason;
  });
  router.rpc(method.listConnections, async (request) => {
    const { connections, total } = await traffic.connections(
      request.service,
      Math.min(request.limit || connectionsDefault, connectionsMax),
    );
    return { connections, total: BigInt(total) };
  });
  router.rpc(method.watchConnections, async function* (request, context) {
    const entries = traffic.logs({ service: request.service, tail: 0, follow: true }, context.signal);
    let dropped = 0n;
    for await (const item of untilAborted(entries, context.signal)) {
      dropped += item.dropped;
      const { kind } = item.entry;
      if (kind !== LogKind.CONNECTION_OPENED && kind !== LogKind.CONNECTION_CLOSED) continue;
      yield { entry: item.entry, dropped };
      dropped = 0n;
    }
  });
  router.rpc(method.logs, async function* (request, context) {
    const query = {
      service: request.service,
      tail: Math.min(request.tail || tailDefault, tailMax),
      follow: request.follow,
    };
    yield* untilAborted(traffic.logs(query, context.signal), context.signal);
  });
}
