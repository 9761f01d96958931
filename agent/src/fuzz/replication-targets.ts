// SPDX-License-Identifier: Apache-2.0
/** What members send each other's replicas: a frame, and any messages one after the other. */
import { hash as digest } from 'node:crypto';
import { MessageGauge } from '../adapters/inbound/mesh/message-gauge.js';
import { ReplicaReader } from '../adapters/inbound/mesh/replica-reader.js';
import { LENGTH_BYTES } from '../adapters/outbound/mesh/replica-wire.js';
import type { Environment, Message } from '../domain/replication/contract.js';
import { bucketOf } from '../domain/replication/digest.js';
import { decodeFrame, encodeFrame, FRAME_LIMITS, faultOfWrites } from '../domain/replication/frame.js';
import { FORKS_MAX } from '../domain/replication/ledger.js';
import { MemoryStore } from '../domain/replication/memory-store.js';
import { decodeMessage, encodeMessage } from '../domain/replication/message-codec.js';
import { EXISTENCE } from '../domain/replication/object.js';
import { Replica } from '../domain/replication/replica.js';
import { must, type Target } from './target.js';

const NOW_MS = 1_700_000_000_000;
const AHEAD_MS = 5_000;
const hash = (bytes: Uint8Array): Uint8Array => digest('sha256', bytes, 'buffer');
const NOTHING = new Uint8Array();

/** A replica of the given node that believes all signatures, since a bad member can sign, too. */
class Lab {
  nowMs = 0;
  readonly disk: MemoryStore;
  readonly replica: Replica;

  constructor(node: bigint, disk: MemoryStore) {
    this.disk = disk;
    let chance = 0;
    const environment: Environment = {
      wallMs: () => NOW_MS + this.nowMs,
      monotonicMs: () => this.nowMs,
      random: () => {
        chance = (chance + 0.37) % 1;
        return chance;
      },
      hash,
      sign: () => new Uint8Array(64),
      verify: () => true,
    };
    this.replica = new Replica({ node, store: disk, environment, founds: true });
    const members = [1n, 2n, 3n].map((member) => ({ node: member, alive: true }));
    this.replica.setMembers(members);
  }

  write(id: string, value: string): void {
    const writes = [
      { kind: 'Service', id, group: EXISTENCE, value: NOTHING },
      { kind: 'Service', id, group: '1', value: new TextEncoder().encode(value) },
    ];
    const result = this.replica.write({ author: 'a', message: 'm', writes });
    must(result.ok || result.code === 'clock-off', `nothing can be written: ${result.ok ? '' : result.reason}`);
  }

  /** What it has to say to another, encoded. */
  say(to: bigint): Uint8Array[] {
    const said: Uint8Array[] = [];
    for (let message = this.replica.take(to); message !== undefined; message = this.replica.take(to)) {
      said.push(encodeMessage(message));
    }
    return said;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.replica.tick();
    this.replica.events();
  }
}

function copyOf(disk: MemoryStore): MemoryStore {
  const copy = new MemoryStore();
  disk.copyTo(copy);
  return copy;
}

/** Of node 1, with two services and one that was deleted. */
const before = new MemoryStore();
const first = new Lab(1n, before);
first.write('web', 'x');
first.write('api', 'y');
first.replica.write({
  author: 'a',
  message: '',
  writes: [{ kind: 'Service', id: 'api', group: EXISTENCE, value: undefined }],
});

/** An input is messages, each behind its length in two bytes. */
function joined(messages: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    messages.flatMap((message) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(Math.min(message.length, 0xffff));
      return [length, message];
    }),
  );
}

function* split(input: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at + 2 <= input.length; ) {
    const length = (input[at] ?? 0) * 256 + (input[at + 1] ?? 0);
    yield input.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
}

function frameOf(node: bigint, sequence: number, aheadMs: number): Uint8Array {
  const frame = encodeFrame(
    {
      ...{ origin: { node, incarnation: 7 }, sequence, author: 'b', message: '' },
      stamp: { ms: NOW_MS + aheadMs, counter: 1, node },
      previous: sequence === 1 ? NOTHING : new Uint8Array(32).fill(3),
      writes: [{ kind: 'Service', id: 'web', group: '1', value: new Uint8Array([sequence]) }],
    },
    hash,
    () => new Uint8Array(64),
  );
  must(!('fault' in frame), 'a seed is no frame');
  return frame.bytes;
}

/** What a sound member of the same state, and a bad one, would say. */
function conversations(): Uint8Array[][] {
  const other = new Lab(2n, copyOf(before));
  other.write('new', 'z');
  other.pass(5_000);
  other.replica.compare(1n);
  const said = other.say(1n);
  const { ledger } = other.replica;
  const vector = ledger.vector();
  const { horizon, forks } = ledger;
  const cells = other.disk.cells();
  const messages: Message[] = [
    ...[1, 2].map((sequence): Message => ({ type: 'push', frame: frameOf(2n, sequence, 100) })),
    { type: 'push', frame: frameOf(3n, 1, 60_000) },
    { type: 'push', frame: frameOf(1n, 9, 0) },
    ...cells.map(({ origin, sequence }): Message => ({ type: 'have', heads: [{ origin, sequence: sequence + 5 }] })),
    { type: 'graft', ranges: cells.map(({ origin, sequence }) => ({ origin, from: 1, through: sequence })) },
    { type: 'request', id: 1, ranges: cells.map(({ origin }) => ({ origin, from: 1, through: 9 })) },
    { type: 'frames', id: 1, frames: [frameOf(2n, 1, 0), frameOf(2n, 2, 0)], compacted: [] },
    { type: 'snapshot-request', id: 4, part: 0 },
    { type: 'snapshot-request', id: 4, part: 1 },
    ...cells.map(({ origin }): Message => ({ type: 'prune', origin })),
    { type: 'busy', id: 1 },
    { type: 'digests', buckets: ledger.digests.buckets() },
    ...['web', 'api', 'new'].map((id): Message => {
      const bucket = bucketOf('Service', id);
      const mine = cells.filter((cell) => cell.id === id);
      return {
        type: 'repair',
        answer: true,
        bucket,
        after: undefined,
        through: undefined,
        cells: mine,
        vector,
        horizon,
        forks,
      };
    }),
    { type: 'stale', reason: 'behind-horizon', seen: new Map(cells.map(({ origin }) => [origin, 3])) },
    { type: 'stale', reason: 'removed', seen: new Map() },
  ];
  const each = messages.map((message) => encodeMessage(message));
  // Ids of snapshots are by chance, and the lab's chance is always the same.
  const taken = new Lab(1n, copyOf(before));
  taken.replica.rejoin();
  for (let i = 0; i < 8; i++) taken.pass(1_000);
  const ids = taken.say(2n).flatMap((bytes) => {
    const asked = decodeMessage(bytes);
    return 'type' in asked && asked.type === 'snapshot-request' ? [asked.id] : [];
  });
  const [id = 1] = ids;
  const stale = encodeMessage({
    type: 'stale',
    reason: 'behind-horizon',
    seen: new Map([[cells[0]?.origin ?? '', 900]]),
  });
  const whole: Message[] = [
    { type: 'snapshot', id, part: 0, cells, end: undefined },
    { type: 'snapshot', id, part: 1, cells: [], end: { ...vector, clock: ledger.clock.last, horizon, forks: [] } },
  ];
  return [
    said,
    ...said.map((bytes) => [bytes]),
    ...each.map((bytes) => [bytes]),
    each,
    [stale, ...whole.map(encodeMessage)],
  ];
}

const messages: Target = {
  name: 'messages',
  bytesMax: 8_192,
  seeds: conversations().map(joined),
  run(input) {
    const lab = new Lab(1n, copyOf(before));
    for (const bytes of split(input)) {
      const message = decodeMessage(bytes);
      if ('fault' in message) continue;
      const again = decodeMessage(encodeMessage(message));
      must(!('fault' in again) && again.type === message.type, 'what was decoded can not be encoded');
      lab.replica.receive(2n, message);
      lab.say(2n);
      lab.pass(700);
    }
    for (let i = 0; i < 3; i++) {
      lab.pass(2_000);
      for (const to of [2n, 3n]) lab.say(to);
    }
    const { ledger } = lab.replica;
    must(ledger.forks.length <= FORKS_MAX, `${ledger.forks.length} forks`);
    must(ledger.clock.last.ms <= NOW_MS + lab.nowMs + AHEAD_MS, 'its clock was taken into the future');
    if (ledger.admitted) lab.write('mine', 'w');
    // What it has on disk is what it thinks it has, and another life can begin with it.
    const next = new Lab(1n, copyOf(lab.disk));
    must(next.replica.ledger.digests.root === ledger.digests.root, 'digests are not those of the cells');
    must(next.replica.ledger.cells === ledger.cells, `${ledger.cells} cells, not ${next.replica.ledger.cells}`);
    next.pass(2_000);
  },
};

const frame: Target = {
  name: 'frame',
  bytesMax: 4_096,
  seeds: [
    frameOf(2n, 1, 0),
    frameOf(2n ** 64n - 1n, 2, 0),
    ...split(joined([first.disk.frames(originOfFirst(), 1, 9, 9_999)[0] ?? NOTHING])),
  ],
  run(input) {
    const read = decodeFrame(input, hash);
    if ('fault' in read) return;
    must(faultOfWrites(read.writes, FRAME_LIMITS) === undefined, 'what it writes is not what may be written');
    must(read.stamp.node === read.node && read.sequence >= 1, 'it is stamped for another');
    const again = decodeFrame(read.bytes, hash);
    must(!('fault' in again) && Buffer.compare(again.hash, read.hash) === 0, 'it is another when it is read again');
  },
};

function originOfFirst(): string {
  const [origin = ''] = first.replica.ledger.heads.keys();
  return origin;
}

const gauge: Target = {
  name: 'message-gauge',
  bytesMax: 2_048,
  seeds: conversations().map((each) =>
    Buffer.concat(each.flatMap((bytes) => [Uint8Array.from([0, 0, 0, bytes.length >> 8, bytes.length & 255]), bytes])),
  ),
  run(input) {
    const limits = { messageMaxBytes: 1_000, fieldsMax: 8 };
    const whole = new MessageGauge(limits).push(input);
    const pieces = new MessageGauge(limits);
    let fault: string | undefined;
    for (let at = 0; at < input.length && fault === undefined; at += 3) fault = pieces.push(input.subarray(at, at + 3));
    must((whole === undefined) === (fault === undefined), `whole: ${whole}; in pieces: ${fault}`);
  },
};

/** In pieces that the first byte of the input chooses, which may be of one byte. */
const reader: Target = {
  name: 'replica-reader',
  bytesMax: 2_048,
  seeds: conversations().map((each) => {
    const question = new Uint8Array(LENGTH_BYTES);
    const behindLengths = each.flatMap((bytes) => [
      Uint8Array.from([0, 0, bytes.length >> 8, bytes.length & 255]),
      bytes,
    ]);
    return Buffer.concat([Uint8Array.of(3), question, ...behindLengths]);
  }),
  run(input) {
    const [size = 0] = input;
    const stream = input.subarray(1);
    const read = (pieceBytes: number): { readonly messages: Buffer[]; readonly fault: string | undefined } => {
      const replica = new ReplicaReader(1_000);
      const all: Buffer[] = [];
      for (let at = 0; at < stream.length; at += pieceBytes) {
        replica.push(stream.subarray(at, at + pieceBytes));
        for (let bytes = replica.next(); bytes !== undefined; bytes = replica.next()) all.push(Buffer.from(bytes));
      }
      return { messages: all, fault: replica.fault };
    };
    const whole = read(Math.max(1, stream.length));
    const pieces = read(1 + (size % 40));
    must(whole.fault === pieces.fault, `whole: ${whole.fault}; in pieces: ${pieces.fault}`);
    must(Buffer.concat(whole.messages).equals(Buffer.concat(pieces.messages)), 'other bytes in pieces');
    must(whole.messages.length === pieces.messages.length, 'more or fewer messages in pieces');
    const bytes = whole.messages.reduce((sum, { length }) => sum + LENGTH_BYTES + length, 0);
    must(bytes <= stream.length, `${bytes} bytes of ${stream.length}`);
  },
};

export const replicationTargets: readonly Target[] = [messages, frame, gauge, reader];
