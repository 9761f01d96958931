// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { address, alive, dead, LoneNode, VERSIONS } from '../sim/lone-node.js';
import { datagramBytes } from '../sim/size.js';
import type { NodeState, PushPull } from '../wire/message.js';
import { SwimOptionsError } from './context.js';
import { seededRandom } from './random.js';

const tuning = { pushPullIntervalMs: 0, reconnectIntervalMs: 0 };
const none = new Uint8Array();

const state = (name: string, other: Partial<NodeState> = {}): NodeState => ({
  name,
  address: address(name),
  meta: none,
  incarnation: 1,
  state: 'alive',
  versions: VERSIONS,
  ...other,
});

const push = (nodes: NodeState[], other: Partial<PushPull> = {}): PushPull => ({
  type: 'push-pull',
  nodes,
  user: none,
  join: false,
  ...other,
});

describe('what is assumed', () => {
  it('is known from then on and told to nobody, and takes nothing back that was heard', () => {
    const self = new LoneNode({ tuning: { ...tuning, probeIntervalMs: 3600_000 } });
    self.hear(alive('a', 7));
    self.advance(10_000);
    self.forget();
    self.do((swim, nowMs) => swim.assume([state('a'), state('b', { incarnation: 3 }), state('self')], nowMs));
    self.advance(10_000);
    expect(
      self.swim
        .members()
        .map(({ name, incarnation }) => `${name} ${incarnation}`)
        .sort(),
    ).toEqual(['a 7', 'b 3', 'self 1']);
    expect([self.datagrams, self.happened]).toEqual([[], []]);
  });
});

describe('gossip', () => {
  it('goes to three members an interval, with everything that fits, and stops when it is said often enough', () => {
    const self = new LoneNode({ tuning: { ...tuning, probeIntervalMs: 3600_000 } });
    self.meet('a', 'b', 'c', 'd');
    self.advance(10_000);
    const rounds = new Map<number, number>();
    for (const { atMs } of self.datagrams) rounds.set(atMs, (rounds.get(atMs) ?? 0) + 1);
    expect(Math.max(...rounds.values())).toBe(3);
    // Five members are known: 4 × ceil(log10 6) transmissions of each message.
    for (const name of ['self', 'a', 'b', 'c', 'd']) {
      expect(self.sent('alive').filter(({ node }) => node === name).length).toBe(4);
    }
    expect(self.swim.stats().broadcasts).toBe(0);
  });

  it('reaches a member that died of late, and not one that died long ago or has left', () => {
    const self = new LoneNode({ tuning: { ...tuning, probeIntervalMs: 3600_000, gossipToTheDeadMs: 5000 } });
    self.meet('a', 'b');
    self.hear(dead('a', 'x'), dead('b', 'b'));
    self.advance(2000);
    expect(new Set(self.datagrams.map(({ to }) => to))).toEqual(new Set(['host-of-a']));
    self.advance(5000);
    self.forget();
    self.do((swim, now) => swim.updateMeta(1, Uint8Array.of(1), now));
    self.advance(2000);
    expect(self.datagrams).toEqual([]);
  });

  it('never fills a datagram over its bytes, and asks for a checksum only of who understands it', () => {
    const self = new LoneNode({ tuning, datagramBytes: 600 });
    self.hear(alive('old', 1, { versions: { ...VERSIONS, protocol: [1, 4, 2] } }));
    for (let index = 0; index < 60; index++) self.hear(alive(`m${index}`, 1, { meta: new Uint8Array(index * 5) }));
    self.advanceAnswering(5000);
    expect(self.datagrams.length).toBeGreaterThan(20);
    for (const { messages, to, crc } of self.datagrams) {
      expect(datagramBytes(messages, crc)).toBeLessThanOrEqual(600);
      expect(crc).toBe(to !== 'host-of-old');
    }
  });

  it('rides along with pings and acks, and carries user messages from the queue and from the hook', () => {
    const self = new LoneNode({ tuning, hooks: { gossip: (bytes) => (bytes > 100 ? [Uint8Array.of(7)] : []) } });
    self.meet('a');
    self.do((swim, now) => swim.broadcast(Uint8Array.of(1, 2, 3), 'k', now));
    self.hear({ type: 'ping', seq: 1, node: 'self', source: { ...address('a'), node: 'a' } });
    const [{ messages } = { messages: [] }] = self.datagrams;
    expect(messages.map(({ type }) => type)).toEqual(['ack', 'alive', 'alive', 'user', 'user']);
    self.hear({ type: 'user', body: Uint8Array.of(9) });
    expect(self.events('user').map(({ body }) => body)).toEqual([Uint8Array.of(9)]);
  });

  it('holds no more than its limit, whatever comes', () => {
    const self = new LoneNode({ tuning, limits: { broadcasts: 50, userBroadcasts: 10 } });
    for (let index = 0; index < 500; index++) {
      self.hear(alive(`m${index}`));
      self.do((swim, now) => swim.broadcast(Uint8Array.of(index & 255), undefined, now));
    }
    expect([self.swim.stats().broadcasts, self.swim.stats().userBroadcasts]).toEqual([50, 10]);
  });
});

describe('state exchange', () => {
  it('answers with its own state and the user’s, and takes over the other’s', () => {
    const self = new LoneNode({ tuning, hooks: { localState: (join) => Uint8Array.of(join ? 1 : 0) } });
    self.meet('a');
    self.request(4, push([state('b', { incarnation: 3 })], { user: Uint8Array.of(8), join: true }));
    const [answer] = self.answers;
    const reply = answer?.type === 'reply' && answer.message.type === 'push-pull' ? answer.message : undefined;
    expect(reply?.nodes.map(({ name }) => name).sort()).toEqual(['a', 'self']);
    expect(reply?.user).toEqual(Uint8Array.of(1));
    expect(self.swim.member('b')?.incarnation).toBe(3);
    expect(self.events('remote-state').map((event) => [event.state, event.join])).toEqual([[Uint8Array.of(8), true]]);
  });

  it('is refused, with the reason, when a version is spoken that not all understand', () => {
    const self = new LoneNode({ tuning });
    self.request(4, push([state('new', { versions: { ...VERSIONS, protocol: [6, 9, 6] } })]));
    self.request(5, push([state('user', { versions: { ...VERSIONS, delegate: [2, 3, 2] } })]));
    expect(self.answers.map((answer) => (answer.type === 'reply' ? answer.message : answer))).toEqual([
      { type: 'error', message: 'new speaks protocol version 6: all understand only 6 to 5' },
      { type: 'error', message: 'user speaks delegate version 2: all understand only 2 to 0' },
    ]);
    expect(self.swim.members().length).toBe(1);
  });

  it('is not refused for the versions of the dead', () => {
    const self = new LoneNode({ tuning });
    self.request(4, push([state('a'), state('b', { state: 'dead', versions: { ...VERSIONS, protocol: [6, 9, 6] } })]));
    expect(self.state('a')).toBe('alive');
  });

  it('to join is refused when the hook says so, on both sides', () => {
    const self = new LoneNode({
      tuning,
      hooks: { refuseMerge: (nodes) => (nodes.length > 1 ? 'too many' : undefined) },
    });
    const two = push([state('a'), state('b')]);
    self.request(4, { ...two, join: true });
    self.do((swim, now) => swim.join(1, [address('a')], now));
    self.do((swim, now) => swim.streamDone(self.streams[0]?.id ?? 0, two, now));
    expect(self.answers).toEqual([{ type: 'reply', stream: 4, message: { type: 'error', message: 'too many' } }]);
    expect(self.events('joined').map(({ reached, failures }) => [reached, failures])).toEqual([
      [0, [{ address: address('a'), reason: 'too many' }]],
    ]);
    self.request(5, two);
    expect(self.state('a')).toBe('alive');
  });

  it('takes place with a random live member, each interval', () => {
    const self = new LoneNode({ tuning: { pushPullIntervalMs: 5000, reconnectIntervalMs: 0 } });
    self.meet('a', 'b');
    self.hear(dead('b', 'b'));
    self.advanceAnswering(25_000);
    expect(self.streams.filter(({ request }) => request.type === 'push-pull').map(({ to }) => to)).toEqual(
      [1, 2, 3, 4].map(() => address('a')),
    );
  });
});

describe('join', () => {
  it('tries every address, four at a time, without its own, and counts who answered', () => {
    const self = new LoneNode({ tuning });
    const seeds = ['a', 'b', 'self', 'c', 'd', 'e', 'f'].map(address);
    self.do((swim, now) => swim.join(3, seeds, now));
    expect(self.streams.length).toBe(4);
    for (let index = 0; index < 6; index++) {
      const { id = 0, to } = self.streams[index] ?? {};
      self.do((swim, now) =>
        index % 2 ? swim.streamFailed(id, 'refused', now) : swim.streamDone(id, push([state(`at-${to?.host}`)]), now),
      );
    }
    expect(
      self.events('joined').map(({ id, reached, failures }) => [id, reached, failures.map(({ reason }) => reason)]),
    ).toEqual([[3, 3, ['refused', 'refused', 'refused']]]);
    expect(self.swim.members().length).toBe(4);
  });

  it('of an address that never answers ends at the deadline', () => {
    const self = new LoneNode({ tuning });
    self.do((swim, now) => swim.join(3, [address('a')], now));
    self.advance(9999);
    expect(self.events('joined')).toEqual([]);
    self.advance(1);
    expect(self.events('joined').map(({ failures }) => failures)).toEqual([
      [{ address: address('a'), reason: 'no answer in time' }],
    ]);
    self.do((swim, now) => swim.streamDone(self.streams[0]?.id ?? 0, push([state('a')]), now));
    expect(self.state('a')).toBeUndefined();
  });

  it('of nothing ends at once', () => {
    const self = new LoneNode({ tuning });
    self.do((swim, now) => swim.join(3, [address('self')], now));
    expect(self.events('joined').map(({ reached, failures }) => [reached, failures])).toEqual([[0, []]]);
  });
});

describe('rejoining', () => {
  const every = { pushPullIntervalMs: 0, reconnectIntervalMs: 1000, reconnectForMs: 60_000 };

  it('a node that is alone tries its seeds and those that it remembers, failed ones too, again and again', () => {
    const self = new LoneNode({ tuning: every });
    self.do((swim, now) => swim.join(1, [address('seed')], now));
    self.do((swim, now) =>
      swim.remember(
        [
          { name: 'a', address: address('a') },
          { name: 'self', address: address('self') },
        ],
        now,
      ),
    );
    self.forget();
    self.advance(20_000);
    const tried = self.streams.map(({ to }) => to.host);
    expect(new Set(tried)).toEqual(new Set(['host-of-seed', 'host-of-a']));
    expect(tried.length).toBeGreaterThanOrEqual(38);
  });

  it('a failed member is tried until it is back; one that has left is not', () => {
    const self = new LoneNode({ tuning: every });
    self.meet('a', 'b', 'c');
    self.hear(dead('a', 'c'), dead('b', 'b'));
    self.forget();
    self.advanceAnswering(10_000);
    const tried = self.streams.filter(({ request }) => request.type === 'push-pull');
    expect(new Set(tried.map(({ to }) => to.host))).toEqual(new Set(['host-of-a']));
    self.hear(alive('a', 2));
    self.forget();
    self.advanceAnswering(10_000);
    expect([self.streams.filter(({ request }) => request.type === 'push-pull'), self.swim.stats().failed]).toEqual([
      [],
      0,
    ]);
  });

  it('a failed member is given up in the end, and no more than the limit are remembered', () => {
    const self = new LoneNode({ tuning: every, limits: { remembered: 3 } });
    const names = ['a', 'b', 'c', 'd', 'e'];
    self.do((swim, now) =>
      swim.remember(
        names.map((name) => ({ name, address: address(name) })),
        now,
      ),
    );
    expect(self.swim.stats().failed).toBe(3);
    self.advance(62_000);
    expect(self.swim.stats().failed).toBe(0);
  });
});

describe('leaving', () => {
  it('is said as often as a broadcast is, then done; it does not come back by what others still say', () => {
    const self = new LoneNode({ tuning });
    self.meet('a', 'b', 'c');
    self.do((swim, now) => swim.leave(5000, now));
    expect(self.events('departed')).toEqual([]);
    self.advanceAnswering(1500);
    expect(self.events('departed').map(({ announced }) => announced)).toEqual([true]);
    expect(self.sent('dead').filter(({ node, from }) => node === 'self' && from === 'self').length).toBe(4);
    self.hear(alive('self', 7));
    expect([self.state('self'), self.swim.stats().incarnation]).toEqual(['left', 1]);
  });

  it('reaches who is there, however much of it goes to one that has died', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const few = { ...tuning, retransmitMultiplier: 1, probeIntervalMs: 3600_000 };
      const self = new LoneNode({ tuning: few, random: seededRandom(seed) });
      self.meet('there', 'dead');
      self.hear(dead('dead', 'there'));
      self.advance(5000);
      self.forget();
      self.do((swim, now) => swim.leave(5000, now));
      // Who has not heard of the death yet has it asked once more whether it is there.
      self.hear({
        ...{ type: 'indirect-ping', seq: 7, target: address('dead'), node: 'dead', nack: false },
        source: { ...address('there'), node: 'there' },
      });
      self.advance(4000);
      expect(self.events('departed').map(({ announced }) => announced)).toEqual([true]);
      const heard = self.sent('dead').filter(({ node, to }) => node === 'self' && to === 'host-of-there');
      expect(heard.length, `seed ${seed}`).toBeGreaterThan(0);
    }
  });

  it('is over after its timeout when it could not be said, and at once when nobody is there', () => {
    const mute = new LoneNode({ tuning: { ...tuning, gossipIntervalMs: 60_000, probeIntervalMs: 60_000 } });
    mute.meet('a');
    mute.do((swim, now) => swim.leave(2000, now));
    mute.advance(2000);
    expect(mute.events('departed').map(({ announced, atMs }) => [announced, atMs])).toEqual([[false, 2000]]);
    const alone = new LoneNode({ tuning });
    alone.do((swim, now) => swim.leave(2000, now));
    expect(alone.events('departed').map(({ announced }) => announced)).toEqual([true]);
  });
});

describe('what the user does', () => {
  it('metadata is said under a new incarnation, and told when it is out', () => {
    const self = new LoneNode({ tuning });
    self.meet('a', 'b');
    self.do((swim, now) => swim.updateMeta(5, Uint8Array.of(1), now));
    self.advanceAnswering(1500);
    expect([self.events('updated').map(({ id }) => id), self.swim.stats().incarnation]).toEqual([[5], 2]);
    expect(
      self.sent('alive').filter(({ node, meta, incarnation }) => node === 'self' && meta[0] === 1 && incarnation === 2)
        .length,
    ).toBe(4);
  });

  it('a message to one member goes by datagram, or whole over a stream', () => {
    const self = new LoneNode({ tuning });
    self.meet('a');
    self.do((swim, now) => swim.sendBestEffort('a', Uint8Array.of(1), now));
    expect(self.sent('user').map(({ to }) => to)).toEqual(['host-of-a']);
    self.do((swim, now) => swim.sendReliable(1, 'a', Uint8Array.of(2), now));
    self.do((swim, now) => swim.streamDone(self.streams[0]?.id ?? 0, undefined, now));
    self.do((swim, now) => swim.sendReliable(2, 'nobody', Uint8Array.of(2), now));
    expect(self.streams[0]?.expectReply).toBe(false);
    expect(self.events('delivered').map(({ id, error }) => [id, error])).toEqual([
      [1, undefined],
      [2, 'nobody is not a member'],
    ]);
  });

  it('streams that are open at a time are bounded', () => {
    const self = new LoneNode({ tuning, limits: { exchanges: 2 } });
    self.meet('a');
    for (let id = 1; id <= 5; id++) self.do((swim, now) => swim.sendReliable(id, 'a', none, now));
    expect([self.streams.length, self.events('delivered').length, self.swim.stats().streams]).toEqual([2, 3, 2]);
    self.advanceAnswering(10_000);
    expect([self.events('delivered').length, self.swim.stats().streams]).toEqual([5, 0]);
  });

  it('options and messages that cannot work are refused, each with what is expected', () => {
    expect(() => new LoneNode({ name: '', tuning: { probeTimeoutMs: 1000 } })).toThrow(
      /a name of 0 characters.*|probeTimeoutMs is 1000: expected less than probeIntervalMs, 1000/,
    );
    const self = new LoneNode({ tuning });
    expect(() => self.do((swim, now) => swim.updateMeta(1, new Uint8Array(513), now))).toThrow(SwimOptionsError);
    expect(() => self.do((swim, now) => swim.broadcast(new Uint8Array(1362), undefined, now))).toThrow(/at most 1361/);
    self.do((swim, now) => swim.broadcast(new Uint8Array(1361), undefined, now));
    self.meet('a');
    self.advanceAnswering(2000);
    expect(self.sent('user').length).toBeGreaterThan(0);
  });

  it('what outside input causes is told at most once in ten seconds for each subject', () => {
    const self = new LoneNode({ tuning });
    for (let count = 0; count < 1000; count++) self.hear({ type: 'ping', seq: 1, node: 'former' });
    for (let count = 0; count < 1000; count++) self.hear({ type: 'ping', seq: 1, node: `former-${count}` });
    expect(self.events('refused').length).toBe(256);
    self.advance(10_000);
    self.hear({ type: 'ping', seq: 1, node: 'former' });
    expect(self.events('refused').length).toBe(257);
  });
});
