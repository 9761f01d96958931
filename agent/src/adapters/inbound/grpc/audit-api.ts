// SPDX-License-Identifier: Apache-2.0
/** AuditService over the audit log, and what the call gate tells it. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import {
  AuditFindingKind,
  type AuditFindingSchema,
  AuditOutcome,
  type AuditRecordSchema,
  AuditService,
  type ExportAuditResponseSchema,
  type ListAuditRecordsRequest,
} from '@marcher/proto/marcher/v1/audit_service_pb';
import type {
  AuditExportItem,
  AuditQuery,
  AuditRecord,
  AuditUseCases,
  Finding,
  Outcome,
} from '../../../ports/audit.js';
import { callerOf } from './config-api.js';
import { invalidArgument } from './errors.js';

const listDefault = 50;
const listMax = 1_000;
/** Longer than anything that a record has. */
const filterMaxCharacters = 400;
/** Each reads the whole log. */
const readersMax = 4;

const outcomes: Readonly<Record<Outcome, AuditOutcome>> = {
  done: AuditOutcome.DONE,
  denied: AuditOutcome.DENIED,
  failed: AuditOutcome.FAILED,
};
const kinds: Readonly<Record<Finding['kind'], AuditFindingKind>> = {
  gap: AuditFindingKind.GAP,
  altered: AuditFindingKind.ALTERED,
  fork: AuditFindingKind.FORK,
  shortened: AuditFindingKind.SHORTENED,
  replaced: AuditFindingKind.REPLACED,
  'bad-signature': AuditFindingKind.BAD_SIGNATURE,
};

/** For the call gate. */
export function deniedCalls(audit: AuditUseCases | undefined): (context: HandlerContext, reason: string) => void {
  return (context, message) => {
    const action = `${context.service.typeName}/${context.method.name}`;
    audit?.denied({ action, by: callerOf(context), message });
  };
}

/** audit: absent in tests that are not about it. */
export function routeAuditService(router: ConnectRouter, audit: AuditUseCases | undefined): void {
  const { method } = AuditService;
  let readers = 0;
  const present = (): AuditUseCases => {
    if (audit !== undefined) return audit;
    throw new ConnectError('this agent keeps no audit log', Code.Unimplemented);
  };
  const enter = (): void => {
    if (readers >= readersMax) {
      const what = `${readersMax} calls read the whole audit log already`;
      throw new ConnectError(`${what}: try again when one has ended`, Code.ResourceExhausted);
    }
    readers++;
  };

  router.rpc(method.listAuditRecords, (request) => {
    const { records, next } = present().list(queryOf(request));
    return { records: records.map(recordMessage), next: BigInt(next) };
  });
  router.rpc(method.verifyAudit, async (_request, context) => {
    const use = present();
    enter();
    try {
      const { end, findings, floor, moreFindings, records, headsChecked, node } = await use.verify(context.signal);
      return {
        ...{ node, hash: end.hash, heads: headsChecked, findings: findings.map(findingMessage) },
        ...{ records: BigInt(records), floor: BigInt(floor), sequence: BigInt(end.sequence) },
        moreFindings: BigInt(moreFindings),
      };
    } finally {
      readers--;
    }
  });
  router.rpc(method.exportAudit, async function* (_request, context) {
    const use = present();
    enter();
    try {
      for await (const item of use.export(context.signal)) yield exported(item);
    } finally {
      readers--;
    }
  });
}

function queryOf(request: ListAuditRecordsRequest): AuditQuery {
  const { limit, before, since, until, actor, action, outcome, object } = request;
  for (const [name, text] of Object.entries({ actor, action, object })) {
    if (text.length > filterMaxCharacters) {
      throw invalidArgument(`${name} has ${text.length} characters: expected at most ${filterMaxCharacters}`);
    }
  }
  if (before > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`before is ${before}, which no record is`);
  const wanted = (Object.keys(outcomes) as Outcome[]).find((one) => outcomes[one] === outcome);
  if (wanted === undefined && outcome !== AuditOutcome.UNSPECIFIED) {
    throw invalidArgument(`outcome is ${outcome}, which this agent does not know: expected done, denied or failed`);
  }
  return {
    limit: Math.min(limit || listDefault, listMax),
    before: Number(before),
    ...(since === undefined ? {} : { sinceMs: timestampMs(since) }),
    ...(until === undefined ? {} : { untilMs: timestampMs(until) }),
    ...(actor === '' ? {} : { actor }),
    ...(action === '' ? {} : { actionPrefix: action }),
    ...(wanted === undefined ? {} : { outcome: wanted }),
    ...(object === '' ? {} : { object }),
  };
}

function recordMessage(record: AuditRecord): MessageInitShape<typeof AuditRecordSchema> {
  const { sequence, timeMs, outcome, objects, ...rest } = record;
  const time = timestampFromMs(timeMs);
  return { ...rest, sequence: BigInt(sequence), time, outcome: outcomes[outcome], objects: [...objects] };
}

function findingMessage({ kind, node, sequence, message }: Finding): MessageInitShape<typeof AuditFindingSchema> {
  return { kind: kinds[kind], node, sequence: BigInt(sequence), message };
}

function exported(item: AuditExportItem): MessageInitShape<typeof ExportAuditResponseSchema> {
  switch (item.kind) {
    case 'origin': {
      const { node, log, anchor } = item.origin;
      const value = { node, log, sequence: BigInt(anchor.sequence), hash: anchor.hash };
      return { item: { case: 'origin', value } };
    }
    case 'record': {
      const { sequence, body, hash } = item.link;
      return { item: { case: 'record', value: { sequence: BigInt(sequence), body, hash } } };
    }
    case 'head': {
      const { sequence, timeMs, ...head } = item.head;
      const value = { ...head, sequence: BigInt(sequence), timeMs: BigInt(timeMs), key: item.key };
      return { item: { case: 'head', value } };
    }
  }
}
