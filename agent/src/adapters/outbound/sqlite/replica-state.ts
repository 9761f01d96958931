// SPDX-License-Identifier: Apache-2.0
/** The parts of a replica's state that are small, as JSON: bytes in hexadecimal, 64 bits as decimal digits. */
import { pack, type Timestamp, unpack, ZERO } from '@marcher/hlc';
import type { Fork, Horizon, NodeId, Origin, ReplicaState } from '../../../domain/replication/contract.js';

export type StatePart = Exclude<keyof ReplicaState, 'heads'>;
export type SmallState = Pick<ReplicaState, StatePart>;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (text: unknown): Uint8Array => Uint8Array.from(Buffer.from(String(text), 'hex'));
const stampOf = (text: unknown): Timestamp => unpack(bytesOf(text));

type Json = Record<string, unknown>;

const WRITE: { readonly [P in StatePart]: (value: ReplicaState[P]) => unknown } = {
  self: (origin) => origin && { node: String(origin.node), incarnation: origin.incarnation },
  clock: (stamp) => hex(pack(stamp)),
  admitted: (admitted) => admitted,
  horizon: ({ stamp, seen }) => ({ stamp: hex(pack(stamp)), seen: Object.fromEntries(seen) }),
  floors: (floors) => Object.fromEntries([...floors].map(([node, incarnation]) => [String(node), incarnation])),
  forks: (forks) => forks.map((fork) => ({ ...fork, kept: hex(fork.kept), other: hex(fork.other) })),
};

const READ: { readonly [P in StatePart]: (value: never) => ReplicaState[P] } = {
  self: ({ node, incarnation }: Json): Origin => ({ node: BigInt(String(node)), incarnation: Number(incarnation) }),
  clock: (text: string) => stampOf(text),
  admitted: (admitted: boolean) => admitted,
  horizon: ({ stamp, seen }: Json): Horizon => ({
    stamp: stampOf(stamp),
    seen: new Map(Object.entries(seen as Record<string, number>)),
  }),
  floors: (floors: Json) =>
    new Map(Object.entries(floors).map(([node, value]): [NodeId, number] => [BigInt(node), Number(value)])),
  forks: (forks: Json[]) =>
    forks.map(({ origin, sequence, kept, other }): Fork => {
      return { origin: String(origin), sequence: Number(sequence), kept: bytesOf(kept), other: bytesOf(other) };
    }),
};

/** Of a replica that has never written nor heard of another. */
export const EMPTY_STATE: SmallState = {
  self: undefined,
  clock: ZERO,
  admitted: false,
  horizon: { stamp: ZERO, seen: new Map() },
  floors: new Map(),
  forks: [],
};

export function writeState(state: Partial<SmallState>): [part: StatePart, json: string | undefined][] {
  return (Object.keys(state) as StatePart[]).map((part) => {
    const value = state[part];
    return [part, value === undefined ? undefined : JSON.stringify(WRITE[part](value as never))];
  });
}

/** Throws where a part is not what was written. */
export function readState(rows: Iterable<{ part: string; value: string }>): SmallState {
  const state: Record<string, unknown> = { ...EMPTY_STATE };
  for (const { part, value } of rows) {
    const read = READ[part as StatePart];
    if (read !== undefined) state[part] = read(JSON.parse(value) as never);
  }
  return state as unknown as SmallState;
}
