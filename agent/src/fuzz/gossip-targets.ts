// SPDX-License-Identifier: Apache-2.0
/** What strangers and members send to the gossip port. */
import {
  type Address,
  decodeDatagram,
  type Effect,
  encodeDatagram,
  encodeMessage,
  encodeStream,
  Keyring,
  lan,
  type Message,
  type NodeState,
  StreamDecoder,
  type StreamMessage,
  type StreamProgress,
  Swim,
  seededRandom,
  type WireSettings,
} from '@marcher/swim';
import { must, type Target } from './target.js';

const KEY = new Uint8Array(32).fill(7);
const LABEL = 'mesh';
const FROM: Address = { host: '192.0.2.2', port: 7401 };
const VERSIONS = { protocol: [1, 5, 5], delegate: [0, 0, 0] } as const;
const DATAGRAM_BYTES = 1_400;
const MEMBERS_MAX = 20;

const WIRES: readonly (WireSettings & { readonly random: (length: number) => Uint8Array })[] = [
  {},
  { label: LABEL },
  { label: LABEL, keyring: new Keyring(KEY, [new Uint8Array(16).fill(1)]) },
].map((wire) => ({ ...wire, random: (length: number) => new Uint8Array(length).fill(9) }));

const state = (name: string, is: NodeState['state']): NodeState => ({
  name,
  address: FROM,
  meta: Uint8Array.of(1, 2),
  incarnation: 3,
  state: is,
  versions: VERSIONS,
});

const MESSAGES: readonly Message[] = [
  { type: 'ping', seq: 7, node: 'self', source: { ...FROM, node: 'b' } },
  { type: 'indirect-ping', seq: 8, target: FROM, node: 'b', nack: true, source: { ...FROM, node: 'c' } },
  { type: 'ack', seq: 1, payload: Uint8Array.of(1) },
  { type: 'nack', seq: 1 },
  { type: 'alive', incarnation: 2, node: 'b', address: FROM, meta: Uint8Array.of(5), versions: VERSIONS },
  { type: 'suspect', incarnation: 2, node: 'b', from: 'c' },
  { type: 'suspect', incarnation: 1, node: 'self', from: 'c' },
  { type: 'dead', incarnation: 2, node: 'b', from: 'b' },
  { type: 'user', body: Uint8Array.of(1, 2, 3) },
];

const STREAMS: readonly StreamMessage[] = [
  { type: 'push-pull', nodes: [state('b', 'alive'), state('c', 'left')], user: Uint8Array.of(4), join: true },
  { type: 'push-pull', nodes: [state('self', 'dead'), state('d', 'suspect')], user: new Uint8Array(), join: false },
  { type: 'ping', seq: 4, node: 'self' },
  { type: 'user', body: new Uint8Array(300) },
  { type: 'error', message: 'no' },
];

/** With a member, and a clock that stands still. */
function running(): Swim {
  const swim = new Swim({
    name: 'self',
    address: { host: '192.0.2.1', port: 7401 },
    limits: { members: MEMBERS_MAX },
    tuning: lan,
    datagramBytes: DATAGRAM_BYTES,
    sizeOf: (message) => encodeMessage(message).length,
    random: seededRandom(1),
    hooks: { localState: () => Uint8Array.of(1) },
  });
  swim.start(0);
  swim.receive(FROM, [MESSAGES[4] as Message], 1);
  return swim;
}

/** After what has come: the time that follows passes, and what is said in it is what can be sent. */
function goesOn(swim: Swim, effects: readonly Effect[]): void {
  const said = [...effects];
  for (let nowMs = 2; nowMs < 40_000 && said.length < 500; nowMs = Math.max(nowMs + 1, swim.nextMs)) {
    said.push(...swim.tick(nowMs));
  }
  for (const effect of said) {
    if (effect.type === 'datagram') encodeDatagram(effect.messages, WIRES[1] ?? { random: () => new Uint8Array() });
    else if (effect.type === 'open-stream') encodeStream(effect.request, { ...WIRES[1], dialled: true, random: nonce });
    else if (effect.type === 'reply') encodeStream(effect.message, { ...WIRES[1], dialled: false, random: nonce });
  }
  must(swim.members().length <= MEMBERS_MAX + 1, `there are ${swim.members().length} members`);
  must(swim.member('self')?.state === 'alive', 'a node thinks that it is dead itself');
}

const nonce = (length: number): Uint8Array => new Uint8Array(length);

const datagram: Target = {
  name: 'datagram',
  bytesMax: 1_400,
  seeds: WIRES.flatMap((wire) => [
    ...MESSAGES.map((message) => encodeDatagram([message], { ...wire, checksum: true })),
    encodeDatagram(MESSAGES, { ...wire, compress: true }),
  ]),
  run(input) {
    for (const wire of WIRES) {
      const { messages } = decodeDatagram(input, wire);
      if (messages === undefined) continue;
      const swim = running();
      goesOn(swim, swim.receive(FROM, messages, 2));
    }
  },
};

function decoded(input: Uint8Array, wire: WireSettings, step: number): StreamProgress {
  const decoder = new StreamDecoder({ ...wire, dialled: true });
  for (let at = 0; at < input.length; at += step) {
    const progress = decoder.push(input.subarray(at, at + step));
    if (progress.status !== 'more') return progress;
    must(decoder.buffered <= input.length, `it holds ${decoder.buffered} bytes of ${input.length}`);
  }
  return decoder.end();
}

const gossipStream: Target = {
  name: 'gossip-stream',
  bytesMax: 4_096,
  seeds: WIRES.flatMap((wire) =>
    STREAMS.flatMap((message) =>
      [true, false].map((compress) => encodeStream(message, { ...wire, compress, dialled: true })),
    ),
  ),
  run(input) {
    for (const wire of WIRES) {
      const whole = decoded(input, wire, input.length + 1);
      const pieces = decoded(input, wire, 1 + ((input[0] ?? 0) % 7));
      must(whole.status === pieces.status, `it is ${whole.status} whole, and ${pieces.status} in pieces`);
      if (whole.status !== 'message') continue;
      const swim = running();
      goesOn(swim, swim.receiveStream(1, FROM, whole.message, 2));
    }
  },
};

export const gossipTargets: readonly Target[] = [datagram, gossipStream];
