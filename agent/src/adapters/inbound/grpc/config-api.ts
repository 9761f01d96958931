// SPDX-License-Identifier: Apache-2.0
/** ConfigService over the configuration use cases: bounds on what comes in, messages passed through as they are. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { isObjectKind, OBJECT_KINDS } from '@marcher/model';
import { PackedApplyRequestSchema, PackedPlanRequestSchema } from '@marcher/proto/marcher/agent/v1/packed_change_pb';
import {
  type ApplyRequest,
  ChangeSchema,
  ConfigService,
  type WatchResponseSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { authorize } from '../../../domain/access/authorize.js';
import {
  type Acks,
  ApplicationError,
  type Caller,
  type ConfigUseCases,
  type RequestedChange,
  type WatchEvent,
} from '../../../ports/use-cases.js';
import { untilAborted } from './abortable-stream.js';
import { peerKey } from './call-gate.js';
import { invalidArgument } from './errors.js';

const listPageDefault = 500;
const listPageMax = 1000;
const historyDefault = 50;
const historyMax = 1000;
const noteMaxCharacters = 4096;
const ackTimeoutDefault = 5_000;
const ackTimeoutMax = 60_000;

export function routeConfigService(
  router: ConnectRouter,
  config: ConfigUseCases,
  limits: { readonly changeMaxBytes: number },
): void {
  const { method } = ConfigService;
  const large = { readMaxBytes: limits.changeMaxBytes };

  router.rpc(
    method.plan,
    async (request, context) => await config.plan(required(request.change), callerOf(context)),
    large,
  );
  router.rpc(method.apply, async (request, context) => await apply(config, request, context), large);
  router.rpc(method.get, (request) => {
    if (request.name === '') throw invalidArgument('name is empty: expected the name of a service');
    const resource = config.get(request.name);
    if (resource === undefined) {
      throw new ApplicationError('not_found', `there is no service "${request.name}": see marcher get services`);
    }
    return { resource, version: config.version };
  });
  router.rpc(method.list, (request) => {
    const page = config.list({
      pageSize: Math.min(request.pageSize || listPageDefault, listPageMax),
      pageToken: request.pageToken,
      labels: request.labels,
    });
    return { ...page, total: BigInt(page.total) };
  });
  router.rpc(method.listObjects, ({ kind, name }) => {
    if (kind !== '' && !isObjectKind(kind)) {
      const expected = `expected ${OBJECT_KINDS.join(', ')} or nothing`;
      throw invalidArgument(`kind is ${JSON.stringify(kind.slice(0, 80))}: ${expected}; services are listed by List`);
    }
    return config.listObjects({ kind: kind === '' ? undefined : kind, name: name === '' ? undefined : name });
  });
  router.rpc(method.watch, async function* (request, context) {
    for await (const event of untilAborted(config.watch(request.resumeVersion, context.signal), context.signal)) {
      yield watchResponse(event);
    }
  });
  router.rpc(method.history, (request) => ({
    revisions: config.history({
      limit: Math.min(request.limit || historyDefault, historyMax),
      beforeVersion: request.beforeVersion,
      withDiff: request.withDiff,
    }),
  }));
  router.rpc(method.revert, async (request, context) => {
    if (request.version === 0n) throw invalidArgument('version is 0: expected a version that History lists');
    return await config.revert(
      request.version,
      { expectedVersion: request.expectedVersion, message: note(request.message), acks: acksOf(request) },
      callerOf(context),
    );
  });
}

/**
 * Plan and Apply for messages in binary, which need not be decoded whole (packed_change.proto). JSON is for small ones
 * and goes to routeConfigService.
 */
export function routePackedChanges(
  router: ConnectRouter,
  config: ConfigUseCases,
  limits: { readonly changeMaxBytes: number },
): void {
  const { method } = ConfigService;
  const large = { readMaxBytes: limits.changeMaxBytes };
  const plan = { ...method.plan, input: PackedPlanRequestSchema };
  router.rpc(plan, async (request, context) => await config.plan(required(request.change), callerOf(context)), large);
  router.rpc(
    { ...method.apply, input: PackedApplyRequestSchema },
    async (request, context) => await apply(config, request, context),
    large,
  );
}

type Applied = Pick<ApplyRequest, 'expectedVersion' | 'message' | 'omitDiff' | 'minAcks' | 'ackTimeoutMs'> & {
  change?: RequestedChange | undefined;
};

async function apply(config: ConfigUseCases, request: Applied, context: HandlerContext) {
  const { expectedVersion, omitDiff } = request;
  const options = { expectedVersion, message: note(request.message), omitDiff, acks: acksOf(request) };
  return await config.apply(required(request.change), options, callerOf(context));
}

function acksOf({ minAcks, ackTimeoutMs }: { minAcks: number; ackTimeoutMs: number }): Acks | undefined {
  if (ackTimeoutMs > ackTimeoutMax) {
    throw invalidArgument(`ack_timeout_ms is ${ackTimeoutMs}: expected at most ${ackTimeoutMax}`);
  }
  return minAcks === 0 ? undefined : { count: minAcks, timeoutMs: ackTimeoutMs || ackTimeoutDefault };
}

export function callerOf(context: HandlerContext): Caller {
  const { author, via, source, principal } = context.values.get(peerKey);
  const method = `${context.service.typeName}/${context.method.name}`;
  return { author, origin: 'api', via, source, permits: (touched) => authorize(principal, method, touched) };
}

/** A change left out is an empty one: it applies and changes nothing, as an empty file does. */
function required(change: RequestedChange | undefined): RequestedChange {
  return change ?? create(ChangeSchema);
}

function note(message: string): string {
  if (message.length > noteMaxCharacters) {
    throw invalidArgument(`message has ${message.length} characters: expected at most ${noteMaxCharacters}`);
  }
  return message;
}

function watchResponse(event: WatchEvent): MessageInitShape<typeof WatchResponseSchema> {
  switch (event.kind) {
    case 'upsert':
      return { event: { case: 'upsert', value: event.resource }, version: event.version };
    case 'remove':
      return { event: { case: 'remove', value: event.name }, version: event.version };
    case 'upsertObject':
      return { event: { case: 'upsertObject', value: event.resource }, version: event.version };
    case 'removeObject':
      return { event: { case: 'removeObject', value: event.key }, version: event.version };
    default:
      return { event: { case: event.kind, value: {} }, version: event.version };
  }
}
