// SPDX-License-Identifier: Apache-2.0
/** What messages are made of, each alone in a datagram. */
import { describe, expect, test } from 'vitest';
import { decodeDatagram, encodeDatagram } from './datagram.js';
import type { Message } from './message.js';
import { encodeMessage } from './message-codec.js';
import type { RefusalReason } from './refusal.js';
import { bytes, counting } from './testing/byte-notation.js';
import { ALIVE, MESSAGES, PING } from './testing/vectors.js';

const PLAIN = { random: counting };

function reason(datagram: Uint8Array): RefusalReason | undefined {
  return decodeDatagram(datagram, {}).refusal?.reason;
}

function messages(datagram: Uint8Array): readonly Message[] {
  const result = decodeDatagram(datagram, {});
  if (result.refusal !== undefined) throw new Error(`${result.refusal.reason}: ${result.refusal.detail}`);
  return result.messages;
}

describe.each(MESSAGES)('$name', (vector) => {
  test('is written byte for byte as memberlist writes it', () => {
    expect(encodeDatagram([vector.message], PLAIN)).toEqual(vector.bytes);
  });

  test('is read from those bytes', () => {
    expect(messages(vector.bytes)).toEqual([vector.message]);
  });

  test('is refused as truncated wherever it ends early', () => {
    if (vector.message.type === 'user') return;
    for (let end = 1; end < vector.bytes.length; end++) {
      expect([end, reason(vector.bytes.subarray(0, end))]).toEqual([end, 'truncated']);
    }
  });
});

describe('content', () => {
  const refused: readonly [string, RefusalReason, Uint8Array][] = [
    ['nothing', 'empty', bytes('')],
    ['a type that nobody has defined', 'unknown-type', bytes('0e 80')],
    ['a push-pull, which is for streams', 'unexpected-type', bytes('06 80')],
    ['something else than a map', 'malformed', bytes('02 93 01 02 03')],
    ['a text where a number belongs', 'malformed', bytes('0b 81 a5"SeqNo" a1"x"')],
    ['a negative number', 'malformed', bytes('0b 81 a5"SeqNo" ff')],
    ['a negative number of 8 bits', 'malformed', bytes('0b 81 a5"SeqNo" d0 80')],
    ['a negative number of 16 bits', 'malformed', bytes('0b 81 a5"SeqNo" d1 ff ff')],
    ['a negative number of 32 bits', 'malformed', bytes('0b 81 a5"SeqNo" d2 80 00 00 00')],
    ['a negative number of 64 bits', 'malformed', bytes(`0b 81 a5"SeqNo" d3 ${'ff'.repeat(8)}`)],
    ['a number of more than 32 bits', 'malformed', bytes('0b 81 a5"SeqNo" cf 00 00 00 01 00 00 00 00')],
    ['a number where a flag belongs', 'malformed', bytes('01 81 a4"Nack" 02')],
    ['a byte that msgpack does not use', 'malformed', bytes('0b 81 a1"x" c1')],
    ['a length of 4 GiB', 'truncated', bytes('02 81 a7"Payload" db ff ff ff ff 00')],
    ['a list of 4 G bytes', 'truncated', bytes('02 81 a7"Payload" dd ff ff ff ff 00')],
    ['a map of 4 G fields', 'truncated', bytes('02 df ff ff ff ff')],
    ['an unknown field of 4 GiB', 'too-large', bytes('02 81 a1"x" c6 ff ff ff ff 00')],
    ['an unknown field nested without end', 'too-deep', bytes(`02 81 a1"x" ${'91'.repeat(200)} 00`)],
    ['a name that is not UTF-8', 'bad-name', bytes('03 81 a4"Node" a2 c3 28')],
    ['no name', 'bad-name', bytes('03 80')],
    ['a name of 513 bytes', 'bad-name', bytes(`03 81 a4"Node" da 02 01 ${'61'.repeat(513)}`)],
    ['an address of 5 bytes', 'bad-address', bytes('04 82 a4"Node" a1"b" a4"Addr" a5 01 02 03 04 05')],
    ['no address', 'bad-address', bytes('04 81 a4"Node" a1"b"')],
    ['no versions', 'bad-versions', bytes('04 82 a4"Node" a1"b" a4"Addr" a4 c0 00 02 01')],
    [
      'metadata of 513 bytes',
      'meta-too-long',
      bytes(`04 83 a4"Node" a1"b" a4"Addr" a4 c0 00 02 01 a4"Meta" da 02 01 ${'61'.repeat(513)}`),
    ],
    ['more bytes than UDP carries', 'too-large', new Uint8Array(65_537)],
  ];

  test.each(refused)('%s is refused: %s', (_, expected, datagram) => {
    expect(reason(datagram)).toBe(expected);
  });

  test('of newer and older writers is understood', () => {
    const seven = [{ type: 'nack', seq: 7 }];
    for (const number of ['07', 'cc 07', 'cd 00 07', 'ce 00 00 00 07', 'cf 00 00 00 00 00 00 00 07', 'd0 07']) {
      expect(messages(bytes('0b 81 a5"SeqNo"', number))).toEqual(seven);
    }
    for (const number of ['d1 00 07', 'd2 00 00 00 07', 'd3 00 00 00 00 00 00 00 07']) {
      expect(messages(bytes('0b 81 a5"SeqNo"', number))).toEqual(seven);
    }
    for (const key of ['a5"SeqNo"', 'd9 05"SeqNo"', 'da 00 05"SeqNo"', 'c4 05"SeqNo"']) {
      expect(messages(bytes('0b de 00 01', key, '07'))).toEqual(seven);
    }
    for (const payload of ['a2 01 02', 'c4 02 01 02', 'c5 00 02 01 02', 'c6 00 00 00 02 01 02', '92 01 cc 02']) {
      const ack = { type: 'ack', seq: 0, payload: Uint8Array.of(1, 2) };
      expect(messages(bytes('02 82 a5"SeqNo" c0 a7"Payload"', payload))).toEqual([ack]);
    }
  });

  test('with fields that this version does not know, of any type, is read without them', () => {
    const extras = [
      'cb 00 00 00 00 00 00 00 00',
      'd6 ff 00 00 00 00',
      'c7 02 ff 01 02',
      '82 a1"x" 91 c0 01 c2',
      'd9 01"x"',
    ];
    for (const extra of extras) {
      expect(messages(bytes('0b 82 a5"Extra"', extra, 'a5"SeqNo" 07'))).toEqual([{ type: 'nack', seq: 7 }]);
    }
  });

  test('with an IPv4 address in 16 bytes, as Go makes it, is IPv4', () => {
    const mapped = bytes('01 82 a4"Port" 50 a6"Target" b0 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 01');
    expect(messages(mapped)).toMatchObject([{ target: { host: '192.0.2.1', port: 80 } }]);
  });

  test('is not memory of the datagram', () => {
    const user: Message = { type: 'user', body: bytes('"hi"') };
    const sent = [ALIVE.message, user, PING.message];
    // A Buffer, as sockets give: its slice is a view.
    const datagram = Buffer.from(encodeDatagram(sent, PLAIN));
    const read = messages(datagram);
    datagram.fill(0);
    expect(read).toEqual(sent);
  });

  test.each([
    { type: 'nack', seq: 2 ** 32 },
    { type: 'nack', seq: -1 },
    { type: 'nack', seq: 1.5 },
    { ...ALIVE.message, address: { host: 'localhost', port: 1 } },
    { ...ALIVE.message, address: { host: 'fe80::1%eth0', port: 1 } },
    { ...ALIVE.message, address: { host: '::1', port: 70_000 } },
    { ...ALIVE.message, meta: new Uint8Array(513) },
    { ...ALIVE.message, versions: { protocol: [1, 256, 2], delegate: [0, 0, 0] } },
  ] as Message[])('that the protocol cannot carry is never written: %o', (message) => {
    expect(() => encodeMessage(message)).toThrow(RangeError);
  });
});
