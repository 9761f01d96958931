// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { address, alive, dead, LoneNode, suspect } from '../sim/lone-node.js';
import { INCARNATION_MAX } from './contract.js';

/** Nothing by itself: only what it hears moves it. */
const quiet = { probeIntervalMs: 3600_000, probeTimeoutMs: 1000, pushPullIntervalMs: 0, reconnectIntervalMs: 0 };
function node(others: readonly string[] = ['a', 'b', 'c', 'd'], tuning = {}): LoneNode {
  const made = new LoneNode({ tuning: { ...quiet, ...tuning } });
  made.meet(...others);
  made.forget();
  return made;
}

describe('alive', () => {
  it('of an unknown member: it joins, and that is gossiped on', () => {
    const self = new LoneNode({ tuning: quiet });
    self.hear(alive('a', 5));
    self.advance(1000);
    expect(self.events('join').map((event) => [event.node.name, event.node.incarnation])).toEqual([['a', 5]]);
    expect(self.sent('alive').some((message) => message.node === 'a')).toBe(true);
  });

  it('counts only with a greater incarnation', () => {
    const self = node(['a']);
    self.hear(alive('a', 1, { meta: Uint8Array.of(1) }));
    expect(self.events('update')).toEqual([]);
    self.hear(alive('a', 2, { meta: Uint8Array.of(1) }));
    expect(self.events('update').map((event) => event.node.meta)).toEqual([Uint8Array.of(1)]);
    expect(self.events('join')).toEqual([]);
  });

  it('with a greater incarnation ends a suspicion', () => {
    const self = node();
    self.hear(suspect('a', 'b'), alive('a', 2));
    expect([self.state('a'), self.events('refuted').length]).toEqual(['alive', 1]);
    self.hear(suspect('a', 'c', 2), alive('a', 3));
    expect(self.events('suspect').map(({ from }) => from)).toEqual(['b', 'c']);
    self.advance(3600_000);
    expect(self.events('dead')).toEqual([]);
  });

  it('brings back one that had died, as a join', () => {
    const self = node();
    self.hear(dead('a', 'b'), alive('a', 1));
    expect(self.state('a')).toBe('dead');
    self.hear(alive('a', 2));
    expect([self.state('a'), self.events('join').map((event) => event.node.name)]).toEqual(['alive', ['a']]);
  });

  it('of a known name from another address is a conflict, told once, and changes nothing', () => {
    const self = node();
    const usurper = alive('a', 9, { address: address('elsewhere') });
    self.hear(usurper, usurper);
    expect(self.events('conflict').map((event) => [event.existing.address, event.other.address])).toEqual([
      [address('a'), address('elsewhere')],
    ]);
    expect(self.swim.member('a')?.address).toEqual(address('a'));
  });

  it('of one that has left may come from another address at once; of a dead one after the reclaim time', () => {
    const self = node(['a', 'b'], { deadReclaimMs: 5000, gossipToTheDeadMs: 3600_000 });
    self.hear(dead('a', 'a'), dead('b', 'a'));
    const moved = (name: string): ReturnType<typeof alive> => alive(name, 2, { address: address('elsewhere') });
    self.hear(moved('a'), moved('b'));
    expect([self.state('a'), self.state('b')]).toEqual(['alive', 'dead']);
    self.advance(5001);
    self.hear(moved('b'));
    expect([self.state('b'), self.swim.member('b')?.address]).toEqual(['alive', address('elsewhere')]);
  });

  it('of a dead one never may come from another address when there is no reclaim time', () => {
    const self = node(['a'], { gossipToTheDeadMs: 3600_000 });
    self.hear(dead('a', 'b'));
    self.advance(600_000);
    self.hear(alive('a', 2, { address: address('elsewhere') }));
    expect([self.state('a'), self.events('conflict').length]).toEqual(['dead', 1]);
  });

  it('is not accepted with versions out of order, metadata or a name too long, or when the hook refuses', () => {
    const self = new LoneNode({
      tuning: quiet,
      hooks: { refuse: ({ name }) => (name === 'stranger' ? 'another cluster' : undefined) },
    });
    self.hear(alive('a', 1, { versions: { protocol: [3, 2, 2], delegate: [0, 0, 0] } }));
    self.hear(alive('b', 1, { versions: { protocol: [0, 5, 2], delegate: [0, 0, 0] } }));
    self.hear(alive('c', 1, { meta: new Uint8Array(513) }), alive('x'.repeat(513)), alive(''), alive('stranger'));
    self.hear(alive('e', 1, { address: { host: '192.0.2.1', port: 0 } }));
    expect(self.swim.members().map(({ name }) => name)).toEqual(['self']);
    expect(self.events('refused').map((event) => event.reason)).toContain(
      'alive message not accepted: another cluster',
    );
    self.hear(alive('d', 1, { meta: new Uint8Array(512) }));
    expect(self.state('d')).toBe('alive');
  });

  it('of more members than the limit is refused, and known ones are still heard', () => {
    const self = new LoneNode({ tuning: quiet, limits: { members: 3 } });
    self.meet('a', 'b', 'c', 'd');
    self.hear(alive('a', 2));
    expect(
      self.swim
        .members()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['a', 'b', 'self']);
    expect([self.swim.member('a')?.incarnation, self.events('refused').length]).toEqual([2, 2]);
  });
});

describe('suspect', () => {
  it('is dead after the time that the formula gives: alone 6 × 4 × log10 n probe intervals at most', () => {
    const self = new LoneNode({ tuning: { pushPullIntervalMs: 0 } });
    self.meet('a', 'b', 'c', 'd');
    self.hear(suspect('a', 'b'));
    self.advanceAnswering(23_999);
    expect(self.state('a')).toBe('suspect');
    self.advanceAnswering(1);
    expect([self.state('a'), self.events('dead').map((event) => event.from)]).toEqual(['dead', ['self']]);
  });

  it('dies sooner when other members confirm it, and each confirmation is passed on', () => {
    const self = new LoneNode({ tuning: { pushPullIntervalMs: 0 } });
    self.meet('a', 'b', 'c', 'd');
    self.hear(suspect('a', 'b'));
    self.forget();
    self.hear(suspect('a', 'b'), suspect('a', 'c'));
    self.advanceAnswering(400);
    expect(self.sent('suspect').filter((message) => message.from === 'c').length).toBeGreaterThan(0);
    self.hear(suspect('a', 'd'));
    self.advanceAnswering(3599);
    expect(self.state('a')).toBe('suspect');
    self.advanceAnswering(1);
    expect([self.state('a'), self.nowMs]).toEqual(['dead', 4000]);
  });

  it('is dead at once when a confirmation comes after the shorter time', () => {
    const self = new LoneNode({ tuning: { pushPullIntervalMs: 0 } });
    self.meet('a', 'b', 'c', 'd');
    self.hear(suspect('a', 'b'));
    self.advanceAnswering(10_000);
    expect(self.state('a')).toBe('suspect');
    self.hear(suspect('a', 'c'), suspect('a', 'd'));
    expect(self.state('a')).toBe('dead');
  });

  it('dies after the least time when too few are there to confirm', () => {
    const self = new LoneNode({ tuning: { pushPullIntervalMs: 0 } });
    self.meet('a', 'b');
    self.hear(suspect('a', 'b'));
    self.advanceAnswering(3999);
    expect(self.state('a')).toBe('suspect');
    self.advanceAnswering(1);
    expect(self.state('a')).toBe('dead');
  });

  it('is ignored of the unknown, of older incarnations and of the dead', () => {
    const self = node(['a', 'b']);
    self.hear(alive('a', 3), suspect('a', 'b', 2), suspect('nobody', 'b'), dead('b', 'a'), suspect('b', 'a'));
    expect([self.state('a'), self.state('b'), self.state('nobody')]).toEqual(['alive', 'dead', undefined]);
  });
});

describe('refutation', () => {
  it('raises the incarnation above the accusation, costs health, and is gossiped', () => {
    const self = node();
    self.hear(suspect('self', 'a', 7));
    self.advance(500);
    expect(self.events('incarnation').map((event) => event.incarnation)).toEqual([8]);
    expect(self.events('health').map((event) => event.score)).toEqual([1]);
    expect(
      self
        .sent('alive')
        .filter((message) => message.node === 'self')
        .every((message) => message.incarnation === 8),
    ).toBe(true);
    expect(self.state('self')).toBe('alive');
  });

  it('also answers a death, and news of itself that it has not said', () => {
    const self = node();
    self.hear(dead('self', 'a', 1));
    expect(self.swim.member('self')?.incarnation).toBe(2);
    self.hear(alive('self', 2, { meta: Uint8Array.of(9) }));
    expect(self.swim.member('self')?.incarnation).toBe(3);
    self.hear(alive('self', 9));
    expect(self.swim.member('self')?.incarnation).toBe(10);
  });

  it('ignores accusations of an earlier incarnation, and its own words', () => {
    const self = node();
    self.hear(suspect('self', 'a', 5));
    self.forget();
    self.hear(suspect('self', 'a', 5), alive('self', 6), alive('self', 3));
    expect([self.swim.member('self')?.incarnation, self.events('incarnation').length]).toEqual([6, 0]);
  });

  it('is always possible: messages with the last incarnation there is are ignored', () => {
    const self = node(['a']);
    self.hear(suspect('self', 'a', INCARNATION_MAX + 1), dead('a', 'b', INCARNATION_MAX + 1));
    expect([self.swim.member('self')?.incarnation, self.state('a')]).toEqual([1, 'alive']);
  });
});

describe('dead', () => {
  it('said by another is dead, said by itself is left', () => {
    const self = node();
    self.hear(dead('a', 'b'), dead('b', 'b'));
    expect([self.state('a'), self.state('b')]).toEqual(['dead', 'left']);
    expect([self.events('dead').length, self.events('left').length]).toEqual([1, 1]);
  });

  it('ends a suspicion, and is told once', () => {
    const self = node();
    self.hear(suspect('a', 'b'), dead('a', 'b'), dead('a', 'c'), suspect('a', 'c'));
    self.advance(3600_000);
    expect(self.events('dead').length).toBe(1);
  });

  it('by a state exchange is only a suspicion; left is left', () => {
    const self = node();
    const of = (name: string, state: 'dead' | 'left' | 'suspect'): object => ({ ...self.swim.member(name), state });
    const nodes = [of('a', 'dead'), of('b', 'left'), of('c', 'suspect')] as never;
    self.request(1, { type: 'push-pull', nodes, user: new Uint8Array(), join: false });
    expect(['a', 'b', 'c'].map((name) => self.state(name))).toEqual(['suspect', 'left', 'suspect']);
  });
});
