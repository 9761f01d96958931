// SPDX-License-Identifier: Apache-2.0
/** What is replicated of the mesh's roots: what was said of each, and who says to trust which. Never a key. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  HeldRootsSchema,
  type RootRecord as Message,
  RootHasteSchema,
  RootIntroductionSchema,
  RootRecordSchema,
  RootRetirementSchema,
  RootSigningSchema,
  type RootSignature as SignatureMessage,
} from '@marcher/proto/marcher/mesh/v1/trusted_root_pb';
import { isNodeId, nodeNumber } from '../../domain/identity/names.js';
import type { RootRecord, RootSignature, RootWord } from '../../domain/identity/root-statement.js';
import { KNOWN_ROOTS_MAX, ROOTS_MAX } from '../../domain/identity/trust.js';
import type { HeldRoots } from '../../domain/mesh/root-rotation.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import { parseOrigin } from '../../domain/replication/origin.js';

export const ROOT_KIND = 'TrustedRoot';
/** Its id is that of the node which says what it has. */
export const HELD_ROOTS_KIND = 'HeldRoots';

const INTRODUCTION = '1';
const HASTE = '2';
const SIGNING = '3';
const RETIREMENT = '4';
const HELD = '1';
const NOTHING = new Uint8Array(0);
const FINGERPRINT = /^[0-9a-f]{64}$/;
/** More than that is not looked at: who wrote them may have been any node. */
const READ_MAX = 4 * KNOWN_ROOTS_MAX;
const CERTIFICATE_MAX_BYTES = 16_384;
const SIGNATURE_MAX_BYTES = 256;

/** The first that is said of a root: in one frame, so that it is taken whole. */
export function introductionWrites(fingerprint: string, record: RootRecord): CellWrite[] {
  const { introduction, signing, retirement } = rootMessage(record);
  const key = { kind: ROOT_KIND, id: fingerprint };
  const value = toBinary(RootIntroductionSchema, introduction ?? create(RootIntroductionSchema));
  return [
    { ...key, group: EXISTENCE, value: NOTHING },
    { ...key, group: INTRODUCTION, value },
    ...(record.hastened ? [hasteWrite(fingerprint)] : []),
    ...(signing === undefined ? [] : [{ ...key, group: SIGNING, value: toBinary(RootSigningSchema, signing) }]),
    ...(retirement === undefined
      ? []
      : [{ ...key, group: RETIREMENT, value: toBinary(RootRetirementSchema, retirement) }]),
  ];
}

export function hasteWrite(fingerprint: string): CellWrite {
  const value = toBinary(RootHasteSchema, create(RootHasteSchema));
  return { kind: ROOT_KIND, id: fingerprint, group: HASTE, value };
}

export function signingWrite(fingerprint: string, { atMs, by }: RootWord): CellWrite {
  const value = toBinary(RootSigningSchema, create(RootSigningSchema, { fromMs: BigInt(atMs), signature: sent(by) }));
  return { kind: ROOT_KIND, id: fingerprint, group: SIGNING, value };
}

export function retirementWrite(fingerprint: string, { atMs, by }: RootWord): CellWrite {
  const message = create(RootRetirementSchema, { atMs: BigInt(atMs), signature: sent(by) });
  return { kind: ROOT_KIND, id: fingerprint, group: RETIREMENT, value: toBinary(RootRetirementSchema, message) };
}

/** Nobody needs to know of it any more. */
export function rootRemoval(fingerprint: string): CellWrite {
  return { kind: ROOT_KIND, id: fingerprint, group: EXISTENCE, value: undefined };
}

/** By fingerprint, as it was written: whether it is true, root-chain.ts judges. */
export function readRootRecords(cells: ReplicaStore): ReadonlyMap<string, RootRecord> {
  const records = new Map<string, RootRecord>();
  for (const { id, groups } of objectsOfKind(cells, ROOT_KIND)) {
    if (records.size >= READ_MAX) break;
    const values = valuesOf(groups);
    const record = values && FINGERPRINT.test(id) ? recordOf(values) : undefined;
    if (record !== undefined) records.set(id, record);
  }
  return records;
}

function recordOf(values: ReadonlyMap<string, Uint8Array>): RootRecord | undefined {
  const [introduction, signing, retirement] = [values.get(INTRODUCTION), values.get(SIGNING), values.get(RETIREMENT)];
  if (introduction === undefined) return undefined;
  try {
    const message = create(RootRecordSchema, { introduction: fromBinary(RootIntroductionSchema, introduction) });
    // One word that can't be read is no reason to forget the others.
    if (signing !== undefined) message.signing = quietly(() => fromBinary(RootSigningSchema, signing));
    if (retirement !== undefined) message.retirement = quietly(() => fromBinary(RootRetirementSchema, retirement));
    const record = rootRecordOf(message);
    return record && { ...record, hastened: values.has(HASTE) };
  } catch {
    return undefined;
  }
}

/** Also of what another node sends, or somebody in its place. undefined: it is none. */
export function rootRecordOf({ introduction, signing, retirement }: Message): RootRecord | undefined {
  if (introduction === undefined) return undefined;
  const { certificate, plannedMs, endorsements } = introduction;
  if (certificate.length === 0 || certificate.length > CERTIFICATE_MAX_BYTES || endorsements.length > ROOTS_MAX) {
    return undefined;
  }
  return {
    certificate,
    plannedMs: Number(plannedMs),
    endorsements: endorsements.flatMap((message) => signatureOf(message) ?? []),
    hastened: false,
    signing: signing && wordOf(signing.fromMs, signing.signature),
    retirement: retirement && wordOf(retirement.atMs, retirement.signature),
  };
}

export function rootMessage({ certificate, plannedMs, endorsements, signing, retirement }: RootRecord): Message {
  const planned = BigInt(plannedMs);
  return create(RootRecordSchema, {
    introduction: {
      certificate: Uint8Array.from(certificate),
      plannedMs: planned,
      endorsements: endorsements.map(sent),
    },
    ...(signing === undefined ? {} : { signing: { fromMs: BigInt(signing.atMs), signature: sent(signing.by) } }),
    ...(retirement === undefined
      ? {}
      : { retirement: { atMs: BigInt(retirement.atMs), signature: sent(retirement.by) } }),
  });
}

export function heldRootsWrites(nodeId: string, { trusted, keys }: HeldRoots): CellWrite[] {
  const key = { kind: HELD_ROOTS_KIND, id: nodeId };
  const held = create(HeldRootsSchema, { trusted: [...trusted], keys: [...keys] });
  return [
    { ...key, group: EXISTENCE, value: NOTHING },
    { ...key, group: HELD, value: toBinary(HeldRootsSchema, held) },
  ];
}

/** A node that has gone has none. */
export function heldRootsRemoval(nodeId: string): CellWrite {
  return { kind: HELD_ROOTS_KIND, id: nodeId, group: EXISTENCE, value: undefined };
}

/** What others say in its place counts for nothing. undefined: it has not said, or nothing that a node says. */
export function readHeldRoots(cells: Pick<ReplicaStore, 'object'>, nodeId: string): HeldRoots | undefined {
  if (!isNodeId(nodeId)) return undefined;
  const groups = new Map(cells.object(HELD_ROOTS_KIND, nodeId).map((cell) => [cell.group, cell]));
  const bytes = valuesOf(groups)?.get(HELD);
  const origin = groups.get(HELD)?.origin;
  if (bytes === undefined || origin === undefined || parseOrigin(origin).node !== nodeNumber(nodeId)) return undefined;
  try {
    const { trusted, keys } = fromBinary(HeldRootsSchema, bytes);
    const sound = [trusted, keys].every(
      (list) => list.length <= KNOWN_ROOTS_MAX && list.every((id) => FINGERPRINT.test(id)),
    );
    return sound ? { trusted, keys } : undefined;
  } catch {
    return undefined;
  }
}

function sent({ root, signature }: RootSignature): { root: string; signature: Uint8Array<ArrayBuffer> } {
  return { root, signature: Uint8Array.from(signature) };
}

function signatureOf({ root, signature }: SignatureMessage): RootSignature | undefined {
  return FINGERPRINT.test(root) && signature.length <= SIGNATURE_MAX_BYTES ? { root, signature } : undefined;
}

function wordOf(atMs: bigint, signature: SignatureMessage | undefined): RootWord | undefined {
  const by = signature && signatureOf(signature);
  return by === undefined || atMs > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : { atMs: Number(atMs), by };
}

function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
