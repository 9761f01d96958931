// SPDX-License-Identifier: Apache-2.0
/** ObserveService over the use case: bounds on what comes in, and messages of what goes out. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { MemberSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { ObjectKeySchema } from '@marcher/proto/marcher/v1/model_pb';
import {
  BackendNameSchema,
  ObservedNodeSchema,
  type ObserveRequest,
  type ObserveResponse,
  ObserveResponseSchema,
  ObserveService,
  Topic as TopicNumber,
} from '@marcher/proto/marcher/v1/observe_service_pb';
import {
  type ObservedBatch,
  type ObserveQuery,
  type ObserveUseCases,
  TOPICS,
  type Topic,
} from '../../../ports/observe.js';
import { untilAborted } from './abortable-stream.js';
import { invalidArgument } from './errors.js';
import { memberMessage } from './mesh-api.js';

const intervalDefaultMs = 1_000;
const intervalMinMs = 100;
const intervalMaxMs = 60_000;
/** Each topic once, and some repetition. */
const topicsMax = 32;
/** Longer than any that was given out. */
const runMaxCharacters = 64;

const topics: Readonly<Record<number, Topic>> = {
  [TopicNumber.STATUS]: 'status',
  [TopicNumber.CONFIGURATION]: 'configuration',
  [TopicNumber.BACKENDS]: 'backends',
  [TopicNumber.TIERS]: 'tiers',
  [TopicNumber.TRAFFIC]: 'traffic',
  [TopicNumber.MEMBERS]: 'members',
};

/** observe: absent in tests that are not about it. */
export function routeObserveService(router: ConnectRouter, observe: ObserveUseCases | undefined): void {
  router.rpc(ObserveService.method.observe, async function* (request, context) {
    if (observe === undefined) throw new ConnectError('this agent can not be observed', Code.Unimplemented);
    const batches = observe.observe(queryOf(request), context.signal);
    for await (const batch of untilAborted(batches, context.signal)) yield responseOf(batch);
  });
}

function queryOf({ intervalMs, topics: wanted, summaries, resumeVersion, resumeRun }: ObserveRequest): ObserveQuery {
  if (intervalMs !== 0 && (intervalMs < intervalMinMs || intervalMs > intervalMaxMs)) {
    const expected = `expected ${intervalMinMs} to ${intervalMaxMs}, or 0 for ${intervalDefaultMs}`;
    throw new ConnectError(`interval_ms is ${intervalMs}: ${expected}`, Code.OutOfRange);
  }
  if (wanted.length > topicsMax) throw invalidArgument(`topics has ${wanted.length}: expected at most ${topicsMax}`);
  if (resumeRun.length > runMaxCharacters) {
    const expected = 'expected what a stream of this node began with, or nothing';
    throw invalidArgument(`resume_run has ${resumeRun.length} characters: ${expected}`);
  }
  return {
    intervalMs: intervalMs || intervalDefaultMs,
    topics: new Set(wanted.length === 0 ? TOPICS : wanted.map(topicOf)),
    summaries,
    resume: { version: resumeVersion, run: resumeRun },
  };
}

function topicOf(number: TopicNumber, at: number): Topic {
  const topic = topics[number];
  if (topic !== undefined) return topic;
  throw invalidArgument(
    `topics[${at}] is ${number}, which this agent does not know: expected some of ${TOPICS.join(', ')}`,
  );
}

/** Fields one by one: what is in a batch was made for it, or is shared with others and never changed. */
function responseOf(batch: ObservedBatch): ObserveResponse {
  const response = create(ObserveResponseSchema, { time: timestampFromMs(batch.timeMs), version: batch.version });
  response.forget = batch.forget;
  response.synced = batch.synced;
  if (batch.node !== undefined) response.node = create(ObservedNodeSchema, batch.node);
  if (batch.status !== undefined) response.status = batch.status;
  response.objects = [...batch.objects];
  response.goneObjects = batch.goneObjects.map((object) => create(ObjectKeySchema, object));
  response.backends = [...batch.backends];
  response.goneBackends = batch.goneBackends.map((backend) => create(BackendNameSchema, backend));
  response.tiers = [...batch.tiers];
  response.goneTiers = [...batch.goneTiers];
  response.availability = [...batch.availability];
  response.traffic = [...batch.traffic];
  response.goneTraffic = [...batch.goneTraffic];
  response.members = batch.members.map((member) => create(MemberSchema, memberMessage(member)));
  response.goneMembers = [...batch.goneMembers];
  return response;
}
