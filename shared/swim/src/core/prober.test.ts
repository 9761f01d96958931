// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ack, address, alive, type Datagram, dead, LoneNode, suspect, VERSIONS } from '../sim/lone-node.js';
import type { Message, Ping } from '../wire/message.js';

const tuning = { pushPullIntervalMs: 0, reconnectIntervalMs: 0 };

function node(...others: string[]): LoneNode {
  const made = new LoneNode({ tuning });
  made.meet(...others);
  made.forget();
  return made;
}

/** Until the next ping goes out, which nobody answers. */
function nextPing(self: LoneNode): Ping & { readonly to: string; readonly atMs: number } {
  const before = self.sent('ping').length;
  while (self.sent('ping').length === before) self.advance(10);
  return self.sent('ping')[before] as Ping & { to: string; atMs: number };
}

const score = (self: LoneNode): number => self.swim.stats().health;

describe('probe', () => {
  it('pings each member once a round, one an interval, by name and with its own address for the answer', () => {
    const self = node('a', 'b', 'c', 'd');
    self.advanceAnswering(8000);
    const pings = self.sent('ping');
    expect(
      pings
        .slice(0, 4)
        .map(({ node: name }) => name)
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd']);
    expect(
      pings
        .slice(4, 8)
        .map(({ node: name }) => name)
        .sort(),
    ).toEqual(['a', 'b', 'c', 'd']);
    expect(pings.map(({ atMs }) => Math.round(atMs - (pings[0]?.atMs ?? 0)))).toEqual(
      pings.map((_, index) => index * 1000),
    );
    expect(pings[0]?.source).toEqual({ ...address('self'), node: 'self' });
    expect(new Set(pings.map(({ seq }) => seq)).size).toBe(pings.length);
  });

  it('of a member that answers tells the round trip', () => {
    const self = node('a');
    const ping = nextPing(self);
    const waited = self.nowMs - ping.atMs;
    self.hear({ type: 'ack', seq: ping.seq, payload: Uint8Array.of(1) });
    expect(self.events('round-trip').map(({ name, ms, payload }) => [name, ms, payload])).toEqual([
      ['a', waited, Uint8Array.of(1)],
    ]);
    self.advance(500);
    expect(self.sent('indirect-ping')).toEqual([]);
  });

  it('asks three others when no ack has come in time, and pings over a stream beside', () => {
    const self = node('a', 'b', 'c', 'd', 'e');
    const ping = nextPing(self);
    self.advance(ping.atMs + 499 - self.nowMs);
    expect(self.sent('indirect-ping')).toEqual([]);
    self.advance(1);
    const asked = self.sent('indirect-ping');
    expect(asked.length).toBe(3);
    expect(new Set(asked.map(({ to }) => to)).size).toBe(3);
    for (const one of asked) {
      expect(one.to).not.toBe(ping.to);
      expect([one.node, one.target, one.seq, one.nack]).toEqual([ping.node, address(ping.node), ping.seq, true]);
    }
    const [stream] = self.streams;
    expect([stream?.to, stream?.request.type, stream?.deadlineMs]).toEqual([
      address(ping.node),
      'ping',
      ping.atMs + 1000,
    ]);
  });

  it('without any ack makes a suspect at the deadline, and not before', () => {
    const self = node('a', 'b', 'c');
    const ping = nextPing(self);
    self.advance(ping.atMs + 999 - self.nowMs);
    expect(self.state(ping.node)).toBe('alive');
    self.advance(1);
    expect(self.state(ping.node)).toBe('suspect');
    expect(self.events('suspect').map(({ node: { name }, from }) => [name, from])).toEqual([[ping.node, 'self']]);
  });

  it('with an ack that came by others, even late, makes none', () => {
    const self = node('a', 'b', 'c');
    const ping = nextPing(self);
    self.advance(ping.atMs + 990 - self.nowMs);
    self.hear(ack(ping.seq));
    self.advance(20);
    expect([self.state(ping.node), score(self), self.events('round-trip')]).toEqual(['alive', 0, []]);
  });

  it('with an ack on the stream alone makes none, and warns that datagrams are lost', () => {
    const self = node('a', 'b', 'c');
    const ping = nextPing(self);
    self.advance(ping.atMs + 600 - self.nowMs);
    const id = self.streams[0]?.id ?? 0;
    self.do((swim) => swim.streamDone(id, { type: 'ack', seq: ping.seq, payload: new Uint8Array() }, self.nowMs));
    self.advance(500);
    expect([self.state(ping.node), self.events('stream-only').length]).toEqual(['alive', 1]);
  });

  it('takes no ack of another ping, on a stream or by datagram', () => {
    const self = node('a', 'b', 'c');
    const ping = nextPing(self);
    self.hear(ack(ping.seq + 1));
    self.advance(ping.atMs + 600 - self.nowMs);
    const id = self.streams[0]?.id ?? 0;
    self.do((swim) => swim.streamDone(id, { type: 'ack', seq: ping.seq + 1, payload: new Uint8Array() }, self.nowMs));
    self.advance(500);
    expect(self.state(ping.node)).toBe('suspect');
  });

  it('does not overrule a refutation that came while it was under way', () => {
    const self = node('a', 'b', 'c');
    const ping = nextPing(self);
    self.hear(alive(ping.node, 2));
    self.advance(1000);
    expect(self.state(ping.node)).toBe('alive');
  });

  it('of a suspect tells it so together with the ping: the buddy system', () => {
    const self = node('a');
    self.hear(suspect('a', 'b', 1));
    const ping = nextPing(self);
    const datagram = self.datagrams.find(({ messages }) => messages.some((one) => one.type === 'ping')) as Datagram;
    expect(datagram.messages).toContainEqual(suspect('a', 'self', 1));
    expect(ping.node).toBe('a');
  });

  it('leaves out the dead and those that have left', () => {
    const self = node('a', 'b', 'c');
    self.hear(dead('a', 'b'), dead('b', 'b'));
    self.advanceAnswering(5000);
    expect(new Set(self.sent('ping').map(({ node: name }) => name))).toEqual(new Set(['c']));
  });

  it('does not make up for rounds that a standstill has cost', () => {
    const self = node('a');
    nextPing(self);
    self.forget();
    self.nowMs += 60_000;
    self.do((swim) => swim.tick(self.nowMs));
    for (const { seq } of self.sent('ping')) self.hear(ack(seq));
    self.advanceAnswering(100);
    expect(self.sent('ping').length).toBeLessThanOrEqual(1);
  });
});

describe('health', () => {
  /** A probe that fails, with so many nacks of the three asked for. */
  function fail(self: LoneNode, nacks: number): void {
    const ping = nextPing(self);
    self.advance(ping.atMs + 600 - self.nowMs);
    for (let nack = 0; nack < nacks; nack++) self.hear({ type: 'nack', seq: ping.seq });
    self.advance(ping.atMs + 1000 - self.nowMs);
  }

  it('stays when everybody asked has sent a nack: it is the other that is dead', () => {
    const self = node('a', 'b', 'c', 'd');
    fail(self, 3);
    expect(score(self)).toBe(0);
  });

  it('falls by each nack that is missing: it may be this node that is slow', () => {
    const self = node('a', 'b', 'c', 'd');
    fail(self, 1);
    expect(score(self)).toBe(2);
  });

  it('falls by one when nobody was asked who would have sent a nack', () => {
    const self = new LoneNode({ tuning });
    const old = { versions: { ...VERSIONS, protocol: [1, 3, 2] } } as const;
    self.hear(alive('a', 1, old), alive('b', 1, old), alive('c', 1, old));
    fail(self, 3);
    expect(self.sent('indirect-ping').every(({ nack }) => !nack)).toBe(true);
    expect(score(self)).toBe(1);
  });

  it('stretches the deadline of the probe, and recovers by one with each that succeeds', () => {
    const self = node('a', 'b', 'c', 'd');
    self.hear(suspect('self', 'a', 5), suspect('self', 'a', 6));
    expect(score(self)).toBe(2);
    const ping = nextPing(self);
    self.advance(ping.atMs + 2900 - self.nowMs);
    expect(self.state(ping.node)).toBe('alive');
    self.hear(ack(ping.seq));
    expect(score(self)).toBe(1);
  });

  it('is never worse than 7, so that a probe takes at most 8 intervals', () => {
    const self = node('a', 'b', 'c', 'd');
    for (let accusation = 0; accusation < 20; accusation++) self.hear(suspect('self', 'a', 10 + accusation));
    expect(score(self)).toBe(7);
    const ping = nextPing(self);
    self.advance(ping.atMs + 7999 - self.nowMs);
    expect(self.state(ping.node)).toBe('alive');
    self.advance(1);
    expect(self.state(ping.node)).toBe('suspect');
  });
});

describe('answering', () => {
  it('a ping is acked to the address in it, with the payload of the hook', () => {
    const self = new LoneNode({ tuning, hooks: { ackPayload: () => Uint8Array.of(4, 2) } });
    self.hear({ type: 'ping', seq: 9, node: 'self', source: { ...address('a'), node: 'a' } });
    self.hear({ type: 'ping', seq: 10, node: '' });
    expect(self.sent('ack').map(({ seq, to, payload }) => [seq, to, payload])).toEqual([
      [9, 'host-of-a', Uint8Array.of(4, 2)],
      [10, 'host-of-peer', Uint8Array.of(4, 2)],
    ]);
  });

  it('a ping for another name is not acked', () => {
    const self = node();
    self.hear({ type: 'ping', seq: 9, node: 'former' });
    expect([self.sent('ack'), self.events('refused').length]).toEqual([[], 1]);
  });

  const ask = (seq: number, nack = true): Message => ({
    type: 'indirect-ping',
    seq,
    target: address('b'),
    node: 'b',
    nack,
    source: { ...address('a'), node: 'a' },
  });

  it('an indirect ping is made under a number of its own, and its ack handed back under the other', () => {
    const self = node();
    self.hear(ask(77));
    const [ping] = self.sent('ping');
    expect([ping?.to, ping?.node]).toEqual(['host-of-b', 'b']);
    self.hear(ack(ping?.seq ?? 0));
    expect(self.sent('ack').map(({ seq, to }) => [seq, to])).toEqual([[77, 'host-of-a']]);
    self.advance(2000);
    expect([self.sent('nack'), self.swim.stats().relays]).toEqual([[], 0]);
  });

  it('an indirect ping that nobody answers is nacked in time for the asker, and a late ack still handed on', () => {
    const self = node();
    self.hear(ask(77));
    self.advance(399);
    expect(self.sent('nack')).toEqual([]);
    self.advance(1);
    expect(self.sent('nack').map(({ seq, to }) => [seq, to])).toEqual([[77, 'host-of-a']]);
    self.advance(50);
    self.hear(ack(self.sent('ping')[0]?.seq ?? 0));
    expect(self.sent('ack').map(({ seq }) => seq)).toEqual([77]);
  });

  it('no nack is sent to one that does not understand it', () => {
    const self = node();
    self.hear(ask(77, false));
    self.advance(2000);
    expect([self.sent('nack'), self.swim.stats().relays]).toEqual([[], 0]);
  });

  it('indirect pings under way are bounded, and each ends', () => {
    const self = new LoneNode({ tuning, limits: { relays: 5 } });
    for (let seq = 0; seq < 100; seq++) self.hear(ask(seq));
    expect([self.swim.stats().relays, self.sent('ping').length]).toEqual([5, 5]);
    self.advance(500);
    expect(self.swim.stats().relays).toBe(0);
  });

  it('a ping on a stream is acked there, unless it means another', () => {
    const self = node();
    self.request(1, { type: 'ping', seq: 5, node: 'self' });
    self.request(2, { type: 'ping', seq: 6, node: 'former' });
    expect(self.answers).toEqual([
      { type: 'reply', stream: 1, message: ack(5) },
      { type: 'close', stream: 2 },
    ]);
  });
});
