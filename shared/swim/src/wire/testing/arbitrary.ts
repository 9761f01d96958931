// SPDX-License-Identifier: Apache-2.0
/** For tests: any message that the protocol can carry. */
import fc from 'fast-check';
import { ipText } from '../ip-bytes.js';
import type { MemberState, Message, NodeState, PushPull, Versions } from '../message.js';

const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
const incarnation = fc.integer({ min: 0, max: 0xffff_ffff });
const version = fc.nat(255);
const three = fc.tuple(version, version, version);
const versions: fc.Arbitrary<Versions> = fc.record({ protocol: three, delegate: three });
const meta = fc.uint8Array({ maxLength: 512 });
const host = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes) => ipText(bytes) ?? '');
const address = fc.record({ host, port: fc.nat(0xffff) });
/** Without a port there is no source. */
const source = fc.record({ host, port: fc.integer({ min: 1, max: 0xffff }), node: fc.oneof(fc.constant(''), name) });

export const arbitraryMessage: fc.Arbitrary<Message> = fc.oneof(
  fc.record(
    { type: fc.constant('ping' as const), seq: incarnation, node: name, source },
    { requiredKeys: ['type', 'seq', 'node'] },
  ),
  fc.record(
    {
      type: fc.constant('indirect-ping' as const),
      seq: incarnation,
      target: address,
      node: name,
      nack: fc.boolean(),
      source,
    },
    { requiredKeys: ['type', 'seq', 'target', 'node', 'nack'] },
  ),
  fc.record({ type: fc.constant('ack' as const), seq: incarnation, payload: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ type: fc.constant('nack' as const), seq: incarnation }),
  fc.record({ type: fc.constant('suspect' as const), incarnation, node: name, from: name }),
  fc.record({ type: fc.constant('alive' as const), incarnation, node: name, address, meta, versions }),
  fc.record({ type: fc.constant('dead' as const), incarnation, node: name, from: name }),
  fc.record({ type: fc.constant('user' as const), body: fc.uint8Array({ maxLength: 300 }) }),
);

const nodeState: fc.Arbitrary<NodeState> = fc.record({
  name,
  address,
  meta,
  incarnation,
  state: fc.constantFrom<MemberState>('alive', 'suspect', 'dead', 'left'),
  versions,
});

export const arbitraryPushPull: fc.Arbitrary<PushPull> = fc.record({
  type: fc.constant('push-pull' as const),
  nodes: fc.array(nodeState, { maxLength: 20 }),
  user: fc.uint8Array({ maxLength: 300 }),
  join: fc.boolean(),
});
