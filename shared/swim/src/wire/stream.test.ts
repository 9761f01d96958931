// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Keyring } from './keyring.js';
import type { PushPull, StreamMessage } from './message.js';
import type { RefusalReason } from './refusal.js';
import { StreamDecoder, type StreamDecoderSettings, type StreamProgress } from './stream-decoder.js';
import { encodeStream, type StreamSettings } from './stream-writer.js';
import { arbitraryPushPull } from './testing/arbitrary.js';
import { bytes, counting, lzwOf, zeros } from './testing/byte-notation.js';
import { ACK, ERROR, PING, PUSH_PULL } from './testing/vectors.js';

const SENDING: StreamSettings = { random: counting, dialled: true };
const RECEIVING: StreamDecoderSettings = { dialled: true };
const KEYRING = new Keyring(bytes('"0123456789abcdef"'));
const LABEL = bytes('f4 04 "blue"');

function receive(stream: Uint8Array, settings = RECEIVING, step = stream.length): StreamProgress {
  const decoder = new StreamDecoder(settings);
  for (let at = 0; at < stream.length; at += step) decoder.push(stream.subarray(at, at + step));
  return decoder.end();
}

function reason(stream: Uint8Array, settings = RECEIVING): RefusalReason | undefined {
  const progress = receive(stream, settings);
  return progress.status === 'refused' ? progress.refusal.reason : undefined;
}

const U200 = 'u'.repeat(200);

/** With what memberlist writes for them. The label's header is that of the side that dials. */
const STREAMS: readonly {
  name: string;
  message: StreamMessage;
  settings?: Partial<StreamSettings>;
  bytes: Uint8Array;
}[] = [
  { ...PUSH_PULL, name: 'a push-pull' },
  {
    name: 'a push-pull of nothing',
    message: { type: 'push-pull', nodes: [], user: new Uint8Array(0), join: false },
    bytes: bytes('06 83 a4"Join" c2 a5"Nodes" 00 ac"UserStateLen" 00'),
  },
  { name: 'a ping', message: PING.message as StreamMessage, bytes: PING.bytes },
  { name: 'an ack', message: ACK.message as StreamMessage, bytes: ACK.bytes },
  { ...ERROR, name: 'an error' },
  {
    name: 'a user message',
    message: { type: 'user', body: bytes('"hello"') },
    bytes: bytes('08 81 aa"UserMsgLen" 05 "hello"'),
  },
  {
    name: 'a user message whose length is a Go int above 127: signed, of 16 bits',
    message: { type: 'user', body: bytes(`"${U200}"`) },
    bytes: bytes(`08 81 aa"UserMsgLen" d1 00 c8 "${U200}"`),
  },
  {
    name: 'a compressed push-pull',
    message: PUSH_PULL.message,
    settings: { compress: true },
    bytes: bytes(
      '09 82 a4"Algo" 00 a3"Buf" da 00 9c', // LZW of the whole push-pull, its type byte included
      '000d0c22a5e44d1a37c34a397943a6cc1c01acaacc2923670a9d3074ca3029e386c0215241c89091430a180001015625',
      '7133268c1c3718d3bc7133805493321743b521e5244c9b32a1c29082f2460e9d661f1494b288b10c805156e6b83115a0',
      '800000583f861c090b448006b8b08a1d8b35e5ca962f63ce6c1680854d9c6180f1f40954ccd0a2473f00597a31e300a8',
      '52a95a155080409d89720202',
    ),
  },
  {
    name: 'a sealed push-pull',
    message: PUSH_PULL.message,
    settings: { keyring: KEYRING },
    bytes: bytes(
      '0a 00 00 00 cb', // type and length: associated data of the sealing
      '01 00 01 02 03 04 05 06 07 08 09 0a 0b', // version, nonce
      'fbbc6057711d55f54d68687ea5e8b28155a4328854c72b3f12258f9deb2c0f2d3a73ed4a30ee9ac6c16ec9fd1f1f3340',
      '170b664037d50e1376c82909e33cbe27d5ef98eb5bbf389a53f5aa32cc0b79f12aebae3a6c30d600aa4ec1c8451435aa',
      '86593eb6b6cc8e7ada1a67f514c395a3db5f4789f1de6a025749f762007d53d45a412bb14e5f2f49a09b81f89fc34684',
      '7a453b25629f6a599b54eb1c3845acd2fbe4e6424606c72d5bfa6096bf91',
      '310d295a8760143b862017da947ae3ce', // tag
    ),
  },
  {
    name: 'a sealed push-pull of a labelled mesh: the same but for header and tag',
    message: PUSH_PULL.message,
    settings: { keyring: KEYRING, label: 'blue' },
    bytes: bytes(
      'f4 04 "blue"',
      '0a 00 00 00 cb',
      '01 00 01 02 03 04 05 06 07 08 09 0a 0b',
      'fbbc6057711d55f54d68687ea5e8b28155a4328854c72b3f12258f9deb2c0f2d3a73ed4a30ee9ac6c16ec9fd1f1f3340',
      '170b664037d50e1376c82909e33cbe27d5ef98eb5bbf389a53f5aa32cc0b79f12aebae3a6c30d600aa4ec1c8451435aa',
      '86593eb6b6cc8e7ada1a67f514c395a3db5f4789f1de6a025749f762007d53d45a412bb14e5f2f49a09b81f89fc34684',
      '7a453b25629f6a599b54eb1c3845acd2fbe4e6424606c72d5bfa6096bf91',
      'ea697b893ea65b4076700ca0f89229ff',
    ),
  },
  {
    name: 'a compressed and sealed push-pull of a labelled mesh',
    message: { ...PUSH_PULL.message, user: bytes(`"${U200}"`) },
    settings: { keyring: KEYRING, label: 'blue', compress: true },
    bytes: bytes(
      'f4 04 "blue"',
      '0a 00 00 00 dd',
      '01 00 01 02 03 04 05 06 07 08 09 0a 0b',
      'f4bd605c721354364b64727c1a9b012d0ddb755fe3fe507cb423d38aac0d67705fbb3522d9cdffcdf717d3544e44be07',
      '79626da97c74623544a7a1044776db12258a34d73ba2968ed219665a9f2d554f13e7d8ea8bcd406c65c8cb8b4f598ad2',
      '96a73156c607a104e81a21ac8d2053f75b5d4588329a3dd3121789026ef4eef021ecd1802e659db4398c9699e49e9260',
      'dff347ff4663309618fa9fd9a5e5237209c53d6e1243c42d2bec3ebb165b75b7df8b3e133cc8910101107b43272811e0',
      '8a4ad8ca5fd205fd6612440386398716',
    ),
  },
];

describe.each(STREAMS)('$name', ({ message, settings = {}, bytes: stream }) => {
  const { label, keyring } = settings;
  const receiving: StreamDecoderSettings = { ...RECEIVING, label, keyring };

  test('is written byte for byte as memberlist writes it', () => {
    expect(encodeStream(message, { ...SENDING, ...settings })).toEqual(stream);
  });

  test('is read from those bytes, in pieces of any size', () => {
    for (const step of [1, 2, 3, 7, 64, stream.length]) {
      const progress = receive(stream, receiving, step);
      expect(progress).toEqual({ status: 'message', message, droppedNodes: { count: 0 } });
    }
  });

  test('waits for more wherever it ends early, and is refused when no more comes', () => {
    const decoder = new StreamDecoder(receiving);
    for (let end = 1; end < stream.length; end++) {
      expect(decoder.push(stream.subarray(end - 1, end))).toEqual({ status: 'more' });
      expect(reason(stream.subarray(0, end), receiving)).toBe('truncated');
    }
    expect(decoder.push(stream.subarray(stream.length - 1)).status).toBe('message');
  });

  test('is read to its end and no further', () => {
    const decoder = new StreamDecoder(receiving);
    const done = decoder.push(Uint8Array.from([...stream, 1, 2, 3]));
    expect(done).toMatchObject({ status: 'message', message });
    expect(decoder.push(new Uint8Array(1_000))).toBe(done);
    expect(decoder.buffered).toBe(0);
  });
});

describe('label', () => {
  const answer = Uint8Array.from([...LABEL, ...ACK.bytes]);

  test('comes first from the side that has dialled, and never from the side that answers', () => {
    const settings = { ...SENDING, label: 'blue' };
    expect(encodeStream(ACK.message as StreamMessage, settings)).toEqual(answer);
    expect(encodeStream(ACK.message as StreamMessage, { ...settings, dialled: false })).toEqual(ACK.bytes);
    expect(receive(answer, { dialled: true, label: 'blue' }).status).toBe('message');
    expect(receive(ACK.bytes, { dialled: false, label: 'blue' }).status).toBe('message');
    expect(reason(answer, { dialled: false, label: 'blue' })).toBe('unexpected-type');
  });

  test('of another mesh, missing, not wanted or empty is refused', () => {
    expect(reason(answer, { dialled: true, label: 'red' })).toBe('wrong-label');
    expect(reason(answer)).toBe('wrong-label');
    expect(reason(ACK.bytes, { dialled: true, label: 'blue' })).toBe('wrong-label');
    expect(reason(bytes('f4 00'), { dialled: true, label: 'blue' })).toBe('malformed-label');
  });

  test('is taken for granted while it is being introduced', () => {
    const settings = { dialled: true, label: 'blue', skipLabelCheck: true, keyring: KEYRING };
    const sealed = encodeStream(PUSH_PULL.message, { ...SENDING, label: 'blue', keyring: KEYRING, dialled: false });
    expect(receive(sealed, settings).status).toBe('message');
    expect(reason(answer, settings)).toBe('wrong-label');
  });
});

describe('sealed', () => {
  const sealed = encodeStream(PUSH_PULL.message, { ...SENDING, keyring: KEYRING });
  const receiving = { ...RECEIVING, keyring: KEYRING };

  test('with any bit flipped is refused', () => {
    for (let at = 1; at < sealed.length; at += 1) {
      const flipped = Uint8Array.from(sealed);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at & 7));
      const expected = at < 5 ? /^(too-large|truncated|no-key-opens)$/ : /^(no-key-opens|unknown-sealing)$/;
      expect(reason(flipped, receiving)).toMatch(expected);
    }
  });

  test('with another key or label is refused', () => {
    expect(reason(sealed, { ...RECEIVING, keyring: new Keyring(counting(16)) })).toBe('no-key-opens');
    expect(reason(Uint8Array.from([...LABEL, ...sealed]), { ...receiving, label: 'blue' })).toBe('no-key-opens');
    expect(receive(sealed, { ...RECEIVING, keyring: new Keyring(counting(16), KEYRING.keys) }).status).toBe('message');
  });

  test('is asked for where there are keys, unless they are being rolled out', () => {
    expect(reason(PUSH_PULL.bytes, receiving)).toBe('not-sealed');
    expect(receive(PUSH_PULL.bytes, { ...receiving, verifyIncoming: false }).status).toBe('message');
    expect(receive(sealed, { ...receiving, verifyIncoming: false }).status).toBe('message');
    const plain = encodeStream(PUSH_PULL.message, { ...SENDING, keyring: KEYRING, verifyOutgoing: false });
    expect(plain).toEqual(PUSH_PULL.bytes);
  });

  test('without keys to open it is refused at its first byte', () => {
    expect(new StreamDecoder(RECEIVING).push(bytes('0a'))).toMatchObject({ refusal: { reason: 'no-keys' } });
  });

  test('that announces more than 20 MiB is refused before any of it comes', () => {
    const decoder = new StreamDecoder(receiving);
    expect(decoder.push(bytes('0a 01 40 00 01'))).toMatchObject({ refusal: { reason: 'too-large' } });
    expect(new StreamDecoder(receiving).push(bytes('0a 01 40 00 00')).status).toBe('more');
  });

  test('that holds nothing, or a message that ends early, is refused', () => {
    // A stream of no byte after its header, sealed by hand.
    const part = encodeStream({ type: 'user', body: bytes('"12345"') }, { ...SENDING, keyring: KEYRING });
    expect(receive(part, receiving).status).toBe('message');
    expect(reason(bytes('0a 00 00 00 00'), receiving)).toBe('empty');
  });
});

describe('announcements', () => {
  const refused: readonly [string, RefusalReason, string][] = [
    ['1,048,577 nodes', 'too-many-nodes', '06 83 a4"Join" c2 a5"Nodes" ce 00 10 00 01 ac"UserStateLen" 00'],
    ['-1 nodes', 'malformed', '06 83 a4"Join" c2 a5"Nodes" ff ac"UserStateLen" 00'],
    ['2^63 nodes', 'malformed', '06 81 a5"Nodes" cf 80 00 00 00 00 00 00 00'],
    ['a user state of more than 20 MiB', 'too-large', '06 83 a4"Join" c2 a5"Nodes" 00 ac"UserStateLen" ce 01 40 00 01'],
    ['a user message of more than 20 MiB', 'too-large', '08 81 aa"UserMsgLen" ce 01 40 00 01'],
    ['an error of more than 64 KiB', 'too-large', '0d 81 a5"Error" db 00 01 00 00'],
    ['a name of 4 GiB', 'too-large', '06 83 a4"Join" c2 a5"Nodes" 01 ac"UserStateLen" 00 81 a4"Name" db ff ff ff ff'],
    ['a node of 65,000 fields and more', 'too-large', '06 81 a5"Nodes" 01 de ff ff'],
    ['a value nested without end', 'too-deep', `06 81 a5"Nodes" 01 ${'91'.repeat(20)}`],
    ['compressed data of more than 20 MiB', 'too-large', '09 82 a4"Algo" 00 a3"Buf" db 01 40 00 00'],
  ];

  test.each(refused)('%s are refused as soon as they are made: %s', (_, expected, stream) => {
    expect(new StreamDecoder(RECEIVING).push(bytes(stream))).toMatchObject({ refusal: { reason: expected } });
  });

  test('of nodes that come to more than 20 MiB are refused, although each is allowed', () => {
    const decoder = new StreamDecoder(RECEIVING);
    decoder.push(bytes('06 83 a4"Join" c2 a5"Nodes" cd 10 00 ac"UserStateLen" 00'));
    const node = Uint8Array.from([...bytes('81 a4"Meta" da ff 00'), ...new Uint8Array(0xff00)]);
    let pushed = 0;
    while (decoder.push(node).status === 'more') pushed += node.length;
    expect(decoder.end()).toMatchObject({ refusal: { reason: 'too-large' } });
    expect(20 * 1024 * 1024 - pushed).toBeLessThan(node.length);
  });

  test('are believed for memory only as far as bytes have come', () => {
    const decoder = new StreamDecoder({ ...RECEIVING, keyring: KEYRING });
    decoder.push(bytes('0a 01 00 00 00 01 02 03'));
    expect(decoder.buffered).toBe(8);
  });

  test('of many nodes keep no more than the node that is coming', () => {
    const node = PUSH_PULL.message.nodes[0] as PushPull['nodes'][number];
    const stream = encodeStream({ ...PUSH_PULL.message, nodes: new Array(2_000).fill(node) }, SENDING);
    const decoder = new StreamDecoder(RECEIVING);
    let most = 0;
    let progress: StreamProgress = { status: 'more' };
    for (let at = 0; at < stream.length; at += 500) {
      progress = decoder.push(stream.subarray(at, at + 500));
      most = Math.max(most, decoder.buffered);
    }
    expect(progress).toMatchObject({ status: 'message', message: { nodes: { length: 2_000 } } });
    expect(most).toBeLessThan(100);
  });
});

describe('compressed', () => {
  /** Its last code, as long as codes get, is repeated: 12 bits for 3,839 bytes each. */
  function bomb(bytesMin: number): Uint8Array {
    const lzw = lzwOf([...zeros(), ...new Array(Math.ceil(bytesMin / 3_839)).fill(4_095)]);
    const head = bytes('09 82 a4"Algo" 00 a3"Buf" db');
    return Uint8Array.from([...head, 0, lzw.length >> 16, (lzw.length >> 8) & 255, lzw.length & 255, ...lzw]);
  }

  test('to more than 40 MiB is refused as a bomb', () => {
    const stream = bomb(41 * 1024 * 1024);
    expect(stream.length).toBeLessThan(30_000);
    expect(reason(stream)).toBe('decompression-bomb');
  });

  test('within compressed is refused, as memberlist does', () => {
    const user: StreamMessage = { type: 'user', body: new Uint8Array(500) };
    const once = encodeStream(user, { ...SENDING, compress: true });
    const body = Uint8Array.from([...bytes('81 aa"UserMsgLen" 00'), ...once]);
    const twice = encodeStream({ type: 'user', body }, { ...SENDING, compress: true });
    expect(receive(twice).status).toBe('message');
    expect(reason(bytes('09 82 a4"Algo" 00 a3"Buf" a4 00 13 04 04'))).toBe('unexpected-type'); // clear, 9, end
  });
});

describe('content', () => {
  test.each([
    ['nothing', 'empty', ''],
    ['a suspicion, which is for datagrams', 'unexpected-type', '03'],
    ['a type that nobody has defined', 'unknown-type', '"GET / HTTP/1.1"'],
    ['a checksum, which streams do not have', 'unexpected-type', '0c'],
    ['a header that is no map', 'malformed', '06 c0'],
    ['a port of 70,000', 'malformed', '06 81 a5"Nodes" 01 81 a4"Port" ce 00 01 11 70'],
  ] as const)('%s is refused: %s', (_, expected, stream) => {
    expect(reason(bytes(stream))).toBe(expected);
  });

  test('of a node that no member can mean leaves out that node, and keeps the others', () => {
    const good = bytes('84 a4"Addr" a4 01 02 03 04 a4"Name" a1"x" a4"Port" 01 a3"Vsn" a6 01 05 02 00 00 00');
    const bad = [
      '84 a4"Addr" a3 01 02 03 a4"Name" a1"x" a4"Port" 01 a3"Vsn" a6 01 05 02 00 00 00', // an address of 3 bytes
      '84 a4"Addr" a4 01 02 03 04 a4"Name" a0 a4"Port" 01 a3"Vsn" a6 01 05 02 00 00 00', // no name
      '84 a4"Addr" a4 01 02 03 04 a4"Name" a2 c3 28 a4"Port" 01 a3"Vsn" a6 01 05 02 00 00 00', // not UTF-8
      '84 a4"Addr" a4 01 02 03 04 a4"Name" a1"x" a4"Port" 01 a3"Vsn" a3 01 05 02', // three versions
      '84 a4"Addr" a4 01 02 03 04 a4"Name" a1"x" a5"State" 04 a3"Vsn" a6 01 05 02 00 00 00', // a fifth state
    ];
    const header = bytes('06 83 a4"Join" c2 a5"Nodes" 07 ac"UserStateLen" 02');
    const stream = Uint8Array.from([...header, ...good, ...bad.flatMap((node) => [...bytes(node)]), ...good, 1, 2]);
    expect(receive(stream, RECEIVING, 11)).toMatchObject({
      status: 'message',
      message: { nodes: [{ name: 'x' }, { name: 'x' }], user: Uint8Array.of(1, 2) },
      droppedNodes: { count: 5, reason: { reason: 'bad-address' } },
    });
  });

  test('beyond what the other side would take is not sent', () => {
    const state = { ...PUSH_PULL.message, user: new Uint8Array(20 * 1024 * 1024 + 1) };
    expect(() => encodeStream(state, SENDING)).toThrow(/user's state of 20971521 bytes/);
    const body = new Uint8Array(20 * 1024 * 1024);
    expect(() => encodeStream({ type: 'user', body }, { ...SENDING, keyring: KEYRING })).toThrow(/sealed message/);
  });
});

describe('whatever is sent', () => {
  const settings = fc.record({
    label: fc.constantFrom('', 'blue'),
    keyring: fc.constantFrom(undefined, KEYRING),
    compress: fc.boolean(),
    dialled: fc.boolean(),
    random: fc.constant(counting),
  });

  test('is received', () => {
    fc.assert(
      fc.property(arbitraryPushPull, settings, fc.integer({ min: 1, max: 500 }), (message, options, step) => {
        const progress = receive(encodeStream(message, options), options, step);
        expect(progress).toEqual({ status: 'message', message, droppedNodes: { count: 0 } });
      }),
      { numRuns: 150 },
    );
  });

  test('and altered on its way never throws', () => {
    const edits = fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const options = settings.map((value) => ({ ...value, keyring: undefined }));
    fc.assert(
      fc.property(
        arbitraryPushPull,
        options,
        edits,
        fc.integer({ min: 1, max: 500 }),
        (sent, option, changes, step) => {
          const stream = encodeStream(sent, option);
          for (const [at, value] of changes) stream[at % stream.length] = value;
          receive(stream, option, step);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('by anybody never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), settings, fc.boolean(), (stream, options, verifyIncoming) => {
        receive(stream, { ...options, verifyIncoming }, 7);
      }),
      { numRuns: 500 },
    );
  });
});
