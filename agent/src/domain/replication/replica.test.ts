// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import type { ReplicaSettings } from './context.js';
import {
  type Cell,
  type CellWrite,
  type Frame,
  type Message,
  type ReplicaEvent,
  ReplicaStoreError,
  type WriteResult,
} from './contract.js';
import { bucketOf } from './digest.js';
import { encodeFrame } from './frame.js';
import { EXISTENCE, visible } from './object.js';
import { originKey, parseOrigin } from './origin.js';
import type { Replica } from './replica.js';
import { MemoryDisk } from './sim/disk.js';
import { Random } from './sim/random.js';
import { type SimNode, World } from './sim/world.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** A mesh on a perfect network, where nothing is by chance that matters. */
class Lab {
  readonly world: World;
  readonly events: { readonly node: bigint; readonly event: ReplicaEvent }[] = [];
  readonly sent = new Map<string, number>();
  /** Of nodes that are cut off: what ends it. */
  readonly #backs = new Map<number, () => void>();
  /** What is not carried. */
  lose: (message: Message) => boolean = () => false;

  constructor(nodes: number, settings: Partial<ReplicaSettings> = {}, founds = true) {
    this.world = new World({
      random: new Random(7),
      hash,
      nodes,
      settings: { roundMs: 1000, upkeepMs: 1000, upkeepBuckets: 256, tombstoneMinMs: 0, ...settings },
      onFrame: () => {},
      onForgotten: () => {},
      onEvent: (node, event) => this.events.push({ node, event }),
      carry: (message) => {
        this.sent.set(message.type, (this.sent.get(message.type) ?? 0) + 1);
        return this.lose(message) ? { type: 'busy', id: -1 } : message;
      },
    });
    for (const node of this.world.nodes) this.world.start(node, founds || node.id === 1n);
    this.run(400);
  }

  run(ms: number): void {
    this.world.time.runUntil(this.world.time.nowMs + ms);
  }

  node(id: number): SimNode {
    return this.world.nodes[id - 1] as SimNode;
  }

  replica(id: number): Replica {
    const { replica } = this.node(id);
    if (replica === undefined) throw new Error(`node ${id} is down`);
    return replica;
  }

  write(id: number, ...writes: [id: string, group: string, value: string | undefined][]): WriteResult {
    const cells: CellWrite[] = writes.map(([name, group, value]) => {
      return { kind: 'service', id: name, group, value: value === undefined ? undefined : text(value) };
    });
    const request = { author: 'lord', message: '', writes: cells };
    const result = this.world.act(this.node(id), (replica) => replica.write(request));
    if (result === undefined) throw new Error(`node ${id} is down`);
    return result;
  }

  create(id: number, name: string, value = name): WriteResult {
    return this.write(id, [name, EXISTENCE, ''], [name, 'spec', value]);
  }

  /** The object's groups as one sees them. */
  shown(id: number, name: string): string {
    const groups = new Map(
      this.node(id)
        .disk.object('service', name)
        .map((cell) => [cell.group, cell]),
    );
    return Array.from(visible(groups), ({ group, value }) => `${group}=${new TextDecoder().decode(value)}`)
      .sort()
      .join(' ');
  }

  stored(id: number): number {
    return this.node(id).disk.cells().length;
  }

  of<T extends ReplicaEvent['type']>(type: T, node?: number): Extract<ReplicaEvent, { type: T }>[] {
    return this.events
      .filter(({ node: at, event }) => event.type === type && (node === undefined || at === BigInt(node)))
      .map(({ event }) => event as Extract<ReplicaEvent, { type: T }>);
  }

  cut(id: number, away: boolean): void {
    this.#backs.get(id)?.();
    this.#backs.delete(id);
    if (away) this.#backs.set(id, this.world.network.cuts.away(BigInt(id)));
  }

  /** Commits of that node that a power failure could take. */
  undurable(id: number): number {
    return this.#memory(id).undurable;
  }

  /** It takes them all. */
  powerFails(id: number): void {
    this.world.crash(this.node(id));
    this.#memory(id).keepUndurable(0);
  }

  #memory(id: number): MemoryDisk {
    const { disk } = this.node(id);
    if (!(disk instanceof MemoryDisk)) throw new Error(`the disk of node ${id} is not in memory`);
    return disk;
  }

  count(type: Message['type']): number {
    const count = this.sent.get(type) ?? 0;
    this.sent.set(type, 0);
    return count;
  }
}

const NEVER = 1e9;

test('a write is everywhere within some hops, and the links become a tree: one push for each node, and announcements', () => {
  const lab = new Lab(16, { roundMs: NEVER });
  for (let i = 0; i < 4; i++) {
    expect(lab.write(1, [`w${i}`, EXISTENCE, '']).ok).toBe(true);
    lab.run(500);
  }
  expect(lab.count('push')).toBeGreaterThan(60);
  lab.count('prune');
  for (let i = 0; i < 10; i++) {
    lab.create(1, 'last', `${i}`);
    lab.run(40);
    for (let node = 1; node <= 16; node++) expect(lab.shown(node, 'last')).toBe(`= spec=${i}`);
  }
  lab.run(500);
  expect([lab.count('push'), lab.count('prune')]).toEqual([150, 0]);
});

test('by whom a frame comes twice pushes none of that origin any more, and announces it instead', () => {
  const lab = new Lab(3, { roundMs: NEVER, newsMs: 50 });
  lab.create(2, 'a');
  lab.run(500);
  // 1 and 3 have had it of 2, and told each other to leave it at that.
  expect(lab.count('prune')).toBe(2);
  lab.count('push');
  lab.create(2, 'b');
  lab.run(500);
  expect([lab.count('push'), lab.count('prune')]).toEqual([2, 0]);
  // To one of the two.
  let lost = 0;
  lab.lose = ({ type }) => type === 'push' && ++lost === 1;
  lab.create(2, 'c');
  lab.run(500);
  expect([lab.shown(1, 'c'), lab.shown(3, 'c'), lab.count('graft')]).toEqual(['= spec=c', '= spec=c', 1]);
  // Of another origin nobody has said so.
  lab.lose = () => false;
  lab.run(500);
  lab.count('push');
  lab.create(3, 'd');
  lab.run(500);
  expect(lab.count('push')).toBeGreaterThan(2);
});

test('frames of two origins that cross each other, again and again, cut nobody off', () => {
  const lab = new Lab(12, { roundMs: NEVER });
  for (let turn = 0; turn < 20; turn++) {
    for (let node = 1; node <= 12; node++) lab.create(node, `of-${node}`, `${turn}`);
    lab.run(3);
  }
  lab.run(1_000);
  lab.count('graft');
  for (let node = 1; node <= 12; node++) lab.create(node, `of-${node}`, 'last');
  lab.run(40);
  for (let at = 1; at <= 12; at++) {
    for (let node = 1; node <= 12; node++) expect(lab.shown(at, `of-${node}`)).toBe('= spec=last');
  }
  lab.run(500);
  expect(lab.count('graft')).toBe(0);
});

test('a frame goes on before it is applied, those that come at once are applied in one commit, and the disk may fail', () => {
  const lab = new Lab(4, { roundMs: NEVER });
  lab.create(1, 'a');
  lab.run(500);
  const frames: Uint8Array[] = [];
  lab.lose = (message) => {
    if (message.type === 'push') frames.push(message.frame);
    return true;
  };
  for (const name of ['b', 'c', 'd']) lab.create(1, name);
  lab.run(1);
  const [b, c, d] = [...new Map(frames.map((frame) => [frame.join(), frame])).values()];
  const sent: Message[] = [];
  lab.lose = (message) => {
    sent.push(message);
    return true;
  };
  const commits = vi.spyOn(lab.node(2).disk, 'commit');
  for (const frame of [b, c, d]) {
    lab.world.act(lab.node(2), (replica) => replica.receive(1n, { type: 'push', frame: frame as Uint8Array }));
  }
  expect([commits.mock.calls.length, lab.shown(2, 'b')]).toEqual([0, '']);
  lab.run(1);
  expect([commits.mock.calls.length, lab.shown(2, 'b'), lab.shown(2, 'd')]).toEqual([1, '= spec=b', '= spec=d']);
  expect(sent.filter(({ type }) => type === 'push').length % 3).toBe(0);
  expect(sent.filter(({ type }) => type === 'push').length).toBeGreaterThan(0);
  // What holds it up here holds up nobody behind it.
  sent.length = 0;
  vi.spyOn(lab.node(3).disk, 'commit').mockImplementation(() => {
    throw new ReplicaStoreError('full', 'no room');
  });
  lab.world.act(lab.node(3), (replica) => replica.receive(1n, { type: 'push', frame: b as Uint8Array }));
  lab.run(1);
  expect([lab.shown(3, 'b'), lab.of('storage', 3).length]).toEqual(['', 1]);
  expect(sent.filter(({ type }) => type === 'push').length).toBeGreaterThan(0);
});

test('a frame that a comparison has brought first does not prune the link by which it then comes', () => {
  const lab = new Lab(2, { roundMs: NEVER });
  lab.lose = ({ type }) => type === 'push' || type === 'have';
  const written = lab.create(2, 'a');
  if (!written.ok) throw new Error(written.reason);
  const { origin, sequence } = written;
  const [frame] = lab.node(2).disk.frames(origin, sequence, sequence, 1e6) as [Uint8Array];
  lab.world.act(lab.node(1), (replica) => replica.compare(2n));
  lab.run(100);
  expect(lab.shown(1, 'a')).toBe('= spec=a');
  lab.lose = () => false;
  lab.count('prune');
  lab.world.act(lab.node(1), (replica) => replica.receive(2n, { type: 'push', frame }));
  lab.run(100);
  expect(lab.count('prune')).toBe(0);
  lab.count('push');
  lab.create(2, 'b');
  lab.run(40);
  expect([lab.shown(1, 'b'), lab.count('push')]).toEqual(['= spec=b', 1]);
});

test('a frame that a comparison has brought first goes on when it comes down the tree', () => {
  const lab = new Lab(3, { roundMs: NEVER, newsMs: NEVER });
  lab.lose = ({ type }) => type === 'push';
  const written = lab.create(1, 'a');
  if (!written.ok) throw new Error(written.reason);
  const { origin, sequence } = written;
  const [frame] = lab.node(1).disk.frames(origin, sequence, sequence, 1e6) as [Uint8Array];
  lab.world.act(lab.node(2), (replica) => replica.compare(1n));
  lab.run(100);
  expect([lab.shown(2, 'a'), lab.shown(3, 'a')]).toEqual(['= spec=a', '']);
  lab.lose = () => false;
  const push = (bytes: Uint8Array): void => {
    lab.world.act(lab.node(2), (replica) => replica.receive(1n, { type: 'push', frame: bytes }));
    lab.run(100);
  };
  lab.count('push');
  // The signature is what ends a frame: who passes on a bad one would be taken for its author.
  push(frame.with(-1, (frame.at(-1) ?? 0) ^ 1));
  expect([lab.count('push'), lab.shown(3, 'a')]).toEqual([0, '']);
  push(frame);
  expect(lab.shown(3, 'a')).toBe('= spec=a');
  // Whoever sends it again and again has it passed on no more.
  lab.count('push');
  push(frame);
  expect(lab.count('push')).toBe(0);
});

test('a push that is lost is grafted from who announces it, without waiting for a comparison', () => {
  const lab = new Lab(4, { roundMs: NEVER });
  for (let i = 0; i < 4; i++) {
    lab.create(1, `a${i}`);
    lab.run(500);
  }
  lab.lose = ({ type }) => type === 'push';
  lab.create(1, 'b');
  lab.run(30);
  lab.lose = () => false;
  lab.run(700);
  lab.create(1, 'c');
  lab.run(700);
  for (let node = 2; node <= 4; node++)
    expect([lab.shown(node, 'b'), lab.shown(node, 'c')]).toEqual(['= spec=b', '= spec=c']);
  expect(lab.count('graft')).toBeGreaterThan(0);
});

test('with every push and announcement lost, comparing vectors brings frames in bounded answers', () => {
  const lab = new Lab(2, { answerBytes: 500 });
  lab.lose = ({ type }) => type === 'push' || type === 'have';
  for (let i = 0; i < 50; i++) lab.create(1, `a${i}`);
  lab.run(4000);
  expect(lab.shown(2, 'a49')).toBe('= spec=a49');
  expect(lab.count('request')).toBeGreaterThan(10);
});

test('a member that does not answer keeps nobody from being asked for the same', () => {
  const lab = new Lab(3);
  let lost = 0;
  lab.lose = ({ type }) => type === 'push' || type === 'have' || (type === 'frames' && ++lost === 1);
  for (let i = 0; i < 50; i++) lab.create(1, `a${i}`);
  lab.run(4000);
  expect([lab.shown(2, 'a49'), lab.shown(3, 'a49')]).toEqual(['= spec=a49', '= spec=a49']);
});

test('a new node takes a snapshot before it may write; its own objects of before come along', () => {
  const lab = new Lab(2, { answerBytes: 200, roundMs: 30_000 }, false);
  const early = lab.create(2, 'early');
  expect(early).toMatchObject({ ok: false, code: 'not-admitted' });
  for (let i = 0; i < 20; i++) lab.create(1, `a${i}`);
  lab.run(15_000);
  expect(lab.shown(2, 'a19')).toBe('= spec=a19');
  expect(lab.count('snapshot')).toBeGreaterThan(5);
  expect(lab.create(2, 'b').ok).toBe(true);
  lab.run(50);
  expect(lab.shown(1, 'b')).toBe('= spec=b');
});

test('a member that has come back is compared with at once, and not in its turn', () => {
  const roundMs = 60_000;
  const lab = new Lab(2, { roundMs, newsMs: NEVER });
  lab.run(2 * roundMs);
  lab.cut(2, true);
  lab.create(1, 'a');
  lab.run(100);
  lab.world.crash(lab.node(2));
  lab.cut(2, false);
  lab.world.start(lab.node(2), false);
  lab.run(roundMs / 8 + 500);
  expect(lab.shown(2, 'a')).toBe('= spec=a');
});

test('a member that was away for longer than the log reaches back takes a snapshot, and keeps what only it has', () => {
  const lab = new Lab(3, { retention: { frames: 5, bytes: 1e6 } });
  lab.create(1, 'a');
  lab.run(3000);
  lab.cut(3, true);
  for (let i = 0; i < 50; i++) lab.write(1, ['a', 'spec', `${i}`]);
  lab.create(3, 'mine');
  lab.run(5000);
  expect(lab.node(1).disk.logSize().frames).toBeLessThanOrEqual(5);
  lab.cut(3, false);
  lab.run(15_000);
  expect(lab.of('snapshot', 3)).toMatchObject([{ reissued: 0 }]);
  for (let node = 1; node <= 3; node++)
    expect([lab.shown(node, 'a'), lab.shown(node, 'mine')]).toEqual(['= spec=49', '= spec=mine']);
});

test('a tombstone waits for every known member, a dead one too, and is collected everywhere after', () => {
  const lab = new Lab(3);
  lab.create(1, 'a');
  lab.run(3000);
  lab.world.crash(lab.node(3));
  lab.write(2, ['a', EXISTENCE, undefined]);
  lab.run(20_000);
  expect([lab.stored(1), lab.stored(2)]).toEqual([1, 1]);
  lab.world.start(lab.node(3), false);
  lab.run(10_000);
  expect([1, 2, 3].map((node) => lab.stored(node))).toEqual([0, 0, 0]);
  expect(lab.replica(1).ledger.horizon.stamp.ms).toBeGreaterThan(0);
});

test('a member that was removed, and comes back after deletes were forgotten, brings no deleted object back and loses none of its own', () => {
  const lab = new Lab(3);
  for (const name of ['gone', 'edited', 'kept']) lab.create(1, name);
  lab.run(3000);
  lab.cut(3, true);
  lab.node(3).member = false;
  lab.world.tellMembers();
  lab.create(3, 'new');
  lab.write(3, ['edited', 'spec', 'by 3'], ['kept', 'spec', 'by 3']);
  lab.write(1, ['gone', EXISTENCE, undefined], ['edited', EXISTENCE, undefined]);
  lab.run(10_000);
  expect(lab.stored(1)).toBe(2);
  lab.cut(3, false);
  lab.node(3).member = true;
  lab.world.tellMembers();
  // Nobody tells it: the others see it by its vector.
  lab.run(15_000);
  for (let node = 1; node <= 3; node++) {
    const shown = ['gone', 'edited', 'kept', 'new'].map((name) => lab.shown(node, name));
    expect(shown).toEqual(['', '', '= spec=by 3', '= spec=new']);
  }
  expect(lab.of('stale', 3).length).toBeGreaterThan(0);
  expect(lab.of('edits-lost', 3)).toEqual([
    { type: 'edits-lost', keys: [{ kind: 'service', id: 'edited', group: 'spec' }] },
  ]);
});

test('a disk that was restored to before a delete that all have forgotten does not bring the object back', () => {
  const lab = new Lab(3);
  lab.create(1, 'a');
  lab.run(3000);
  const backup = lab.node(3).disk.backup();
  lab.write(1, ['a', EXISTENCE, undefined]);
  lab.run(10_000);
  expect(lab.stored(1)).toBe(0);
  lab.world.crash(lab.node(3));
  lab.node(3).disk = backup;
  expect(lab.shown(3, 'a')).toBe('= spec=a');
  lab.world.start(lab.node(3), false);
  lab.run(15_000);
  expect([1, 2, 3].map((node) => lab.shown(node, 'a'))).toEqual(['', '', '']);
});

test('an origin whose disk was restored takes a new incarnation instead of its old numbers', () => {
  const lab = new Lab(2);
  lab.create(2, 'a');
  lab.run(3000);
  const backup = lab.node(2).disk.backup();
  lab.create(2, 'b');
  lab.run(3000);
  for (const writesAtOnce of [true, false]) {
    lab.world.crash(lab.node(2));
    lab.node(2).disk = backup.backup();
    lab.world.start(lab.node(2), false);
    if (!writesAtOnce) lab.run(5000);
    const result = lab.create(2, `c ${writesAtOnce}`);
    expect(result).toMatchObject({ ok: true, sequence: 1 });
    lab.run(5000);
    expect([lab.shown(2, 'b'), lab.shown(1, `c ${writesAtOnce}`)]).toEqual(['= spec=b', `= spec=c ${writesAtOnce}`]);
  }
  expect(lab.of('forked')).toEqual([]);
  expect(lab.of('incarnation', 2).map(({ reason }) => reason.split(' ')[0])).toEqual(['its', 'written', 'others']);
});

test('a restart that all members confirm goes on with its numbers', () => {
  const lab = new Lab(3);
  lab.create(2, 'a');
  lab.run(3000);
  lab.world.crash(lab.node(2));
  lab.world.start(lab.node(2), false);
  lab.run(5000);
  expect(lab.create(2, 'b')).toMatchObject({ ok: true, sequence: 2 });
});

test('incarnations that ended, and that all have, leave the vector', () => {
  const lab = new Lab(2);
  for (let life = 0; life < 4; life++) {
    lab.create(2, `a${life}`);
    lab.run(200);
    lab.world.crash(lab.node(2));
    lab.world.start(lab.node(2), false);
  }
  lab.create(2, 'last');
  lab.run(15_000);
  expect([lab.replica(1).ledger.heads.size, lab.replica(2).ledger.heads.size]).toEqual([1, 1]);
  expect(lab.create(1, 'b').ok && lab.create(2, 'c').ok).toBe(true);
  lab.run(2000);
  expect([lab.shown(1, 'c'), lab.shown(2, 'a0')]).toEqual(['= spec=c', '= spec=a0']);
});

test('a frame from too far in the future waits, is shown, holds up nobody else, and is applied when its time comes', () => {
  const lab = new Lab(3, { aheadMaxMs: 2000, clockOffMaxMs: NEVER });
  lab.node(3).skewMs = 7000;
  expect(lab.create(3, 'future').ok).toBe(true);
  lab.create(3, 'behind it');
  lab.create(1, 'now');
  lab.run(3000);
  expect([lab.shown(1, 'future'), lab.shown(1, 'behind it'), lab.shown(2, 'now')]).toEqual(['', '', '= spec=now']);
  expect(lab.of('quarantined', 1)).toMatchObject([{ sequence: 1 }]);
  // Nor has it moved anyone's clock.
  expect(lab.replica(1).ledger.clock.aheadMs()).toBe(0);
  lab.run(4000);
  expect([lab.shown(1, 'future'), lab.shown(2, 'behind it')]).toEqual(['= spec=future', '= spec=behind it']);
  expect(lab.of('released', 1)).toMatchObject([{ sequence: 1 }]);
});

test('a node whose clock is off most members’ refuses to write, and says by how much', () => {
  const lab = new Lab(3, { clockOffMaxMs: 500, aheadMaxMs: 60_000 });
  lab.run(3000);
  expect(lab.create(3, 'a').ok).toBe(true);
  lab.node(3).skewMs = -3000;
  lab.run(4000);
  const result = lab.create(3, 'b');
  expect(result).toMatchObject({ ok: false, code: 'clock-off' });
  expect(!result.ok && result.reason).toMatch(
    /^this machine's clock is (299|300)\d ms behind most members', more than 500 ms/,
  );
  expect(lab.create(1, 'c').ok).toBe(true);
  lab.node(3).skewMs = 0;
  lab.run(4000);
  expect(lab.create(3, 'b').ok).toBe(true);
});

/** Two frames that follow a node's head, and of each the one that follows it. */
function branches(lab: Lab, id: number): [Frame, Frame, Frame, Frame] {
  const { ledger } = lab.replica(id);
  const { self } = ledger;
  const head = self && ledger.heads.get(originKey(self));
  if (self === undefined || head === undefined) throw new Error('has not written');
  const follow = (name: string, counter: number, sequence: number, previous: Uint8Array): Frame => {
    const writes = [{ kind: 'service', id: name, group: EXISTENCE, value: text(name) }];
    const stamp = { ms: lab.world.wallMs(lab.node(id)), counter, node: BigInt(id) };
    const sign = (digest: Uint8Array): Uint8Array => Uint8Array.from([...digest.subarray(0, 7), id]);
    const frame = encodeFrame({ origin: self, sequence, stamp, previous, author: '', message: '', writes }, hash, sign);
    if ('fault' in frame) throw new Error(frame.fault);
    return frame;
  };
  const left = follow('left', 10, head.sequence + 1, head.hash);
  const right = follow('right', 11, head.sequence + 1, head.hash);
  const leftNext = follow('left next', 12, head.sequence + 2, left.hash);
  return [left, right, leftNext, follow('right next', 13, head.sequence + 2, right.hash)];
}

test.each([
  ['another frame with the number of the newest', [0, 1]],
  ['another frame with the number of one before', [0, 2, 1]],
  ['another frame with the number of one that is held', [2, 3]],
  ['a frame that follows another than the one that is here', [0, 3]],
])('a fork is seen at once by %s, and shown with both hashes', (_, order) => {
  const lab = new Lab(2, { roundMs: NEVER });
  lab.create(2, 'a');
  lab.run(500);
  const frames = branches(lab, 2);
  for (const i of order) {
    lab.world.act(lab.node(1), (replica) => replica.receive(2n, { type: 'push', frame: (frames[i] as Frame).bytes }));
    lab.run(1);
  }
  const [{ fork } = { fork: undefined }, ...more] = lab.of('forked', 1);
  expect(more).toEqual([]);
  const held = order[0] === 2;
  expect(fork).toMatchObject({ origin: frames[0].origin, sequence: held ? 3 : 2 });
  const hashes = (held ? [frames[2], frames[3]] : [frames[0], frames[1]]).map((each) => [...each.hash]);
  expect([fork?.kept, fork?.other].map((each) => [...(each ?? [])])).toEqual(hashes);
  expect([lab.shown(1, 'right'), lab.shown(1, 'right next')]).toEqual(['', '']);
});

test('two frames with one number are named, end their origin, and all come to hold the cells of both', () => {
  const lab = new Lab(3);
  lab.create(3, 'a');
  lab.run(3000);
  // The same disk twice, writing on both sides of a partition: what an incarnation cannot prevent if members are not
  // known.
  const forged = branches(lab, 3);
  const { origin } = forged[0];
  lab.world.crash(lab.node(3));
  lab.world.network.cuts.partition(new Set([1n]), true);
  forged.slice(0, 2).forEach(({ bytes }, i) => {
    lab.world.act(lab.node(i + 1), (replica) => replica.receive(3n, { type: 'push', frame: bytes }));
  });
  lab.run(1000);
  expect([lab.shown(1, 'left'), lab.shown(1, 'right'), lab.shown(2, 'right')]).toEqual(['=left', '', '=right']);
  lab.world.network.cuts.heal();
  lab.run(8000);
  const [first] = lab.of('forked', 1);
  expect(first?.fork).toMatchObject({ origin, sequence: 2 });
  expect(lab.of('forked', 2)).toHaveLength(1);
  for (let node = 1; node <= 2; node++)
    expect([lab.shown(node, 'left'), lab.shown(node, 'right')]).toEqual(['=left', '=right']);
  lab.world.start(lab.node(3), false);
  lab.run(8000);
  expect(lab.create(3, 'b')).toMatchObject({ ok: true, sequence: 1 });
  lab.run(3000);
  expect([lab.shown(1, 'b'), lab.shown(3, 'left'), lab.shown(3, 'right')]).toEqual(['= spec=b', '=left', '=right']);
});

test('what a disk has damaged or lost is named, and comes back from another member', () => {
  const lab = new Lab(2);
  for (const name of ['a', 'b', 'c']) lab.create(1, name);
  lab.run(3000);
  const { disk } = lab.node(2);
  const damaged = disk.object('service', 'a').find(({ group }) => group === 'spec') as Cell;
  const lost = disk.object('service', 'b').find(({ group }) => group === 'spec') as Cell;
  const none = { append: [], drop: [], state: {}, heads: new Map(), forget: [] };
  disk.commit({ ...none, put: [{ ...damaged, value: text('zzz') }], remove: [lost] });
  lab.run(8000);
  for (let node = 1; node <= 2; node++) {
    expect(['a', 'b', 'c'].map((name) => lab.shown(node, name))).toEqual(['= spec=a', '= spec=b', '= spec=c']);
  }
  expect(lab.of('damaged', 2)).toMatchObject([{ keys: [{ id: 'a', group: 'spec' }] }]);
  expect(lab.of('repaired', 2).length).toBeGreaterThan(0);
});

test('a full disk refuses writes and takes no frames, and makes up for it when there is room', () => {
  const lab = new Lab(2, { storageRetryMs: 200 });
  lab.create(1, 'a');
  lab.run(1000);
  lab.node(2).disk.full = true;
  expect(lab.create(2, 'b')).toMatchObject({ ok: false, code: 'storage' });
  lab.create(1, 'c');
  lab.run(1000);
  expect(lab.shown(2, 'c')).toBe('');
  expect(lab.of('storage', 2)[0]).toMatchObject({ code: 'full' });
  lab.node(2).disk.full = false;
  lab.run(400);
  expect([lab.shown(2, 'c'), lab.create(2, 'b').ok]).toEqual(['= spec=c', true]);
});

test('what others wrote is on disk before this node says that it has it, and not before', () => {
  const lab = new Lab(2, { roundMs: NEVER, upkeepMs: NEVER });
  const written = lab.create(1, 'a');
  lab.run(100);
  expect([lab.shown(2, 'a'), lab.undurable(2)]).toEqual(['= spec=a', 1]);
  if (!written.ok) throw new Error(written.reason);
  const confirmations = (): number => lab.replica(1).confirmations(written.origin, written.sequence);
  lab.powerFails(2);
  expect(lab.shown(2, 'a')).toBe('');
  lab.world.start(lab.node(2), false);
  lab.run(1000);
  expect([lab.shown(2, 'a'), confirmations()]).toEqual(['', 0]);
  lab.world.act(lab.node(2), (replica) => replica.compare(1n));
  lab.run(100);
  // Fetched again; still nobody has been told.
  expect([lab.shown(2, 'a'), lab.undurable(2), confirmations()]).toEqual(['= spec=a', 1, 0]);
  lab.world.act(lab.node(1), (replica) => replica.compare(2n));
  lab.run(100);
  expect([lab.undurable(2), confirmations()]).toEqual([0, 1]);
  lab.powerFails(2);
  expect(lab.shown(2, 'a')).toBe('= spec=a');
});

test('what a process that was killed has left may not be on disk either', () => {
  const lab = new Lab(2, { roundMs: NEVER, upkeepMs: NEVER });
  lab.create(1, 'a');
  lab.run(100);
  lab.world.crash(lab.node(2));
  lab.world.start(lab.node(2), false);
  lab.run(1000);
  expect([lab.shown(2, 'a'), lab.undurable(2)]).toEqual(['= spec=a', 1]);
  lab.world.act(lab.node(1), (replica) => replica.compare(2n));
  lab.run(100);
  expect([lab.replica(1).behind(2n), lab.undurable(2)]).toEqual([0, 0]);
});

test('a write of one’s own is on disk at once, with all that came before it', () => {
  const lab = new Lab(2, { roundMs: NEVER, upkeepMs: NEVER });
  lab.create(1, 'a');
  lab.run(100);
  lab.create(2, 'b');
  lab.powerFails(2);
  expect([lab.shown(2, 'a'), lab.shown(2, 'b')]).toEqual(['= spec=a', '= spec=b']);
});

test('a node whose disk is full goes on comparing, and says to have what is on the disk alone', () => {
  const lab = new Lab(2, { roundMs: NEVER, upkeepMs: NEVER });
  lab.create(1, 'a');
  lab.run(100);
  lab.node(2).disk.full = true;
  lab.world.act(lab.node(1), (replica) => replica.compare(2n));
  lab.run(1000);
  expect([lab.replica(1).behind(2n), lab.undurable(2)]).toEqual([1, 1]);
  expect(lab.of('storage', 2)[0]).toMatchObject({ code: 'full' });
  lab.node(2).disk.full = false;
  lab.world.act(lab.node(1), (replica) => replica.compare(2n));
  lab.run(1000);
  expect([lab.replica(1).behind(2n), lab.undurable(2)]).toEqual([0, 0]);
});

test('what is forged, malformed, or not from a member is refused and shown, and nothing else happens', () => {
  const lab = new Lab(2);
  const stamp = { ms: lab.world.wallMs(lab.node(2)), counter: 0, node: 2n };
  const writes = [{ kind: 'service', id: 'a', group: EXISTENCE, value: text('') }];
  const frame = encodeFrame(
    {
      origin: { node: 2n, incarnation: 1 },
      sequence: 1,
      stamp,
      previous: new Uint8Array(0),
      author: '',
      message: '',
      writes,
    },
    hash,
    () => new Uint8Array(8),
  );
  if ('fault' in frame) throw new Error(frame.fault);
  const offer = (from: bigint, bytes: Uint8Array): void => {
    lab.world.act(lab.node(1), (replica) => replica.receive(from, { type: 'push', frame: bytes }));
  };
  offer(2n, frame.bytes);
  offer(2n, new Uint8Array([1, 2, 3]));
  offer(99n, frame.bytes);
  lab.run(3000);
  expect(lab.of('refused', 1).map(({ reason }) => reason)).toMatchObject([
    expect.stringContaining("the signature is not that node's"),
    expect.stringContaining('not a frame'),
  ]);
  expect([lab.stored(1), lab.stored(2)]).toEqual([0, 0]);
});

describe('a member that is broken or bad', () => {
  /** Two that agree, and what the second would say of a bucket. */
  const agreed = (): { lab: Lab; repair: Extract<Message, { type: 'repair' }> } => {
    const lab = new Lab(2);
    lab.create(1, 'a');
    lab.run(3000);
    const { ledger } = lab.replica(2);
    const bucket = bucketOf('service', 'a');
    const parts = { vector: ledger.vector(), horizon: ledger.horizon, forks: [], cells: lab.node(2).disk.cells() };
    return { lab, repair: { type: 'repair', answer: false, bucket, after: undefined, through: undefined, ...parts } };
  };
  const tell = (lab: Lab, message: Message): void => {
    lab.events.length = 0;
    lab.world.act(lab.node(1), (replica) => replica.receive(2n, message));
    lab.run(3000);
  };
  const YEAR_MS = 365 * 86_400_000;

  test('can not have a cell from the future, which would beat all that is written', () => {
    const { lab, repair } = agreed();
    const { ledger } = lab.replica(1);
    const cells = repair.cells.map((cell) => {
      const late = { ...cell, value: text('bad'), stamp: { ...cell.stamp, ms: cell.stamp.ms + YEAR_MS } };
      return { ...late, mark: ledger.mark(late) };
    });
    tell(lab, { ...repair, cells });
    expect(lab.shown(1, 'a')).toBe('= spec=a');
    expect(lab.of('refused', 1)[0]?.reason).toMatch(/a repair: .* ahead of this node's clock/);
    expect(lab.write(1, ['a', 'spec', 'mine']).ok).toBe(true);
    lab.run(1000);
    expect([lab.shown(1, 'a'), lab.shown(2, 'a')]).toEqual(['= spec=mine', '= spec=mine']);
  });

  test('can not have a horizon from the future, which would make all that is written too late', () => {
    const { lab, repair } = agreed();
    const stamp = { ...repair.horizon.stamp, ms: lab.world.wallMs(lab.node(1)) + YEAR_MS };
    tell(lab, { ...repair, cells: [], horizon: { ...repair.horizon, stamp } });
    expect(lab.shown(1, 'a')).toBe('= spec=a');
    lab.create(2, 'b');
    lab.run(1000);
    expect(lab.shown(1, 'b')).toBe('= spec=b');
    expect(lab.of('late', 1)).toEqual([]);
  });

  test('can not have forgotten deletes that it has not seen, for which all others would have to join again', () => {
    const { lab, repair } = agreed();
    const [origin = ''] = repair.vector.heads.keys();
    const seen = new Map([[origin, Number.MAX_SAFE_INTEGER]]);
    // With a cell that it lacks, so that there is something to be repaired.
    const lost = lab
      .node(1)
      .disk.object('service', 'a')
      .find(({ group }) => group === 'spec') as Cell;
    const none = { append: [], drop: [], state: {}, heads: new Map(), forget: [] };
    lab.node(1).disk.commit({ ...none, put: [], remove: [lost] });
    tell(lab, { ...repair, horizon: { ...repair.horizon, seen } });
    expect(lab.replica(1).ledger.horizon.seen.size).toBe(0);
    expect(lab.of('stale', 2)).toEqual([]);
    expect(lab.create(2, 'b').ok).toBe(true);
  });

  test('names no more origins that forked than there is room for, in one commit', () => {
    const lab = new Lab(2);
    lab.run(3000);
    const summary = (forks: readonly { origin: string; sequence: number }[]): void => {
      const { ledger } = lab.replica(2);
      const parts = {
        ...ledger.vector(),
        admitted: true,
        seen: new Map(),
        digest: 0,
        cells: 0,
        life: 1,
        echo: undefined,
      };
      tell(lab, { type: 'summary', answer: false, ...parts, wallMs: lab.world.wallMs(lab.node(2)), forks });
    };
    const many = (from: number, count: number): { origin: string; sequence: number }[] =>
      Array.from({ length: count }, (_, at) => ({
        origin: originKey({ node: BigInt(from + at), incarnation: 1 }),
        sequence: 2,
      }));
    const { disk } = lab.node(1);
    const commit = vi.spyOn(disk, 'commit');
    summary(many(100, 1_000));
    expect(commit).toHaveBeenCalledTimes(1);
    summary(many(5_000, 1_000));
    expect(lab.replica(1).ledger.forks).toHaveLength(1_024);
    // An earlier number of one that is known takes no room.
    summary([{ origin: originKey({ node: 100n, incarnation: 1 }), sequence: 1 }]);
    expect(lab.replica(1).ledger.forks).toHaveLength(1_024);
    expect(lab.replica(1).ledger.forks.at(-1)).toMatchObject({ sequence: 1 });
  });
});

test('a peer that reads nothing costs no more than its outbox, and catches up by comparing', () => {
  const lab = new Lab(2, { outboxBytes: 2000 });
  lab.run(1500);
  const { replica } = lab.node(1);
  if (replica === undefined) throw new Error('down');
  for (let i = 0; i < 100; i++) {
    const writes = [{ kind: 'service', id: `a${i}`, group: EXISTENCE, value: text('x'.repeat(50)) }];
    expect(replica.write({ author: '', message: '', writes }).ok).toBe(true);
  }
  expect(replica.events().filter(({ type }) => type === 'overflow').length).toBeGreaterThan(0);
  lab.world.act(lab.node(1), () => {});
  lab.run(3000);
  expect(lab.stored(2)).toBe(100);
});

test('a write that contradicts itself, is too large or writes nothing is refused with its reason', () => {
  const lab = new Lab(1, { frame: { bytes: 1000, writes: 10 } });
  expect(lab.write(1)).toMatchObject({ ok: false, code: 'invalid' });
  expect(lab.write(1, ['a', EXISTENCE, undefined], ['a', 'spec', 'b'])).toMatchObject({ ok: false, code: 'invalid' });
  expect(lab.create(1, 'a', 'x'.repeat(1000))).toMatchObject({ ok: false, code: 'too-large' });
  expect(lab.create(1, 'a')).toMatchObject({ ok: true, sequence: 1 });
  expect(parseOrigin([...lab.replica(1).ledger.heads.keys()][0] ?? '').node).toBe(1n);
});

test('what is written alongside a write is in its commit; if that fails, nothing is sent either', () => {
  const lab = new Lab(2);
  const replica = lab.replica(1);
  const request = {
    author: '',
    message: '',
    writes: [{ kind: 'service', id: 'a', group: EXISTENCE, value: text('') }],
  };
  const failing = (): void => {
    throw new Error('audit');
  };
  expect(() => replica.write(request, failing)).toThrow('audit');
  expect([...replica.waiting()]).toEqual([]);
  const result = lab.world.act(lab.node(1), () => replica.write(request));
  expect(result).toMatchObject({ ok: true, sequence: 1 });
  lab.run(3000);
  if (result?.ok !== true) throw new Error('refused');
  expect(replica.confirmations(result.origin, result.sequence)).toBe(1);
});
