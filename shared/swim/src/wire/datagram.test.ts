// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DatagramSettings, decodeDatagram, encodeDatagram, gossipRoom, packDatagram } from './datagram.js';
import type { WireSettings } from './envelope.js';
import { Keyring } from './keyring.js';
import { compressLzw } from './lzw.js';
import type { Message } from './message.js';
import type { RefusalReason } from './refusal.js';
import { arbitraryMessage } from './testing/arbitrary.js';
import { bytes, counting } from './testing/byte-notation.js';
import { ACK, ALIVE, PING, SUSPECT } from './testing/vectors.js';

const PLAIN: DatagramSettings = { random: counting };
const KEYRING = new Keyring(counting(16));

function reason(datagram: Uint8Array, settings: WireSettings = {}): RefusalReason | undefined {
  return decodeDatagram(datagram, settings).refusal?.reason;
}

function messages(datagram: Uint8Array, settings: WireSettings = {}): readonly Message[] {
  const result = decodeDatagram(datagram, settings);
  if (result.refusal !== undefined) throw new Error(`${result.refusal.reason}: ${result.refusal.detail}`);
  return result.messages;
}

/** A compress message around LZW data of less than 64 KiB. */
function compressMessage(lzw: Uint8Array): Uint8Array {
  return Uint8Array.from([...bytes('09 82 a4"Algo" 00 a3"Buf" da'), lzw.length >> 8, lzw.length & 255, ...lzw]);
}

describe('compound', () => {
  const datagram = Uint8Array.from([
    ...bytes('07 03 00 3b 00 3a 00 1e'), // type, 3 parts, their lengths
    ...PING.bytes,
    ...ALIVE.bytes,
    ...SUSPECT.bytes,
  ]);
  const three = [PING.message, ALIVE.message, SUSPECT.message];

  test('is written and read with the lengths of its parts first', () => {
    expect(encodeDatagram(three, PLAIN)).toEqual(datagram);
    expect(messages(datagram)).toEqual(three);
  });

  test('of which the end is missing gives its whole parts and counts the others', () => {
    for (let end = 8; end < datagram.length; end++) {
      const result = decodeDatagram(datagram.subarray(0, end), {});
      const whole = end < 8 + 0x3b ? 0 : end < 8 + 0x3b + 0x3a ? 1 : 2;
      expect(result.messages).toEqual(three.slice(0, whole));
      expect(result.dropped).toEqual({ truncated: 3 - whole, refused: 0 });
    }
    for (let end = 1; end < 8; end++) expect(reason(datagram.subarray(0, end))).toBe('truncated');
  });

  test('drops and counts a part that is wrong, and keeps the others', () => {
    const result = decodeDatagram(packDatagram([PING.bytes, bytes('63'), bytes('04 a1"x"'), ACK.bytes], PLAIN), {});
    expect(result.messages).toEqual([PING.message, ACK.message]);
    expect(result.dropped).toMatchObject({ truncated: 0, refused: 2, reason: { reason: 'unknown-type' } });
  });

  test('within compound is read to a depth of four, and no deeper', () => {
    let nested = ACK.bytes;
    for (let depth = 1; depth <= 5; depth++) {
      nested = Uint8Array.from([7, 1, 0, nested.length, ...nested]);
      const { messages, dropped } = decodeDatagram(nested, {}) as { messages: Message[]; dropped: object };
      if (depth <= 4) expect(messages).toEqual([ACK.message]);
      else expect({ messages, dropped }).toMatchObject({ messages: [], dropped: { reason: { reason: 'too-deep' } } });
    }
  });

  test('has 1 to 255 parts, each below 64 KiB', () => {
    expect(messages(packDatagram(new Array(255).fill(ACK.bytes), PLAIN))).toHaveLength(255);
    expect(() => packDatagram(new Array(256).fill(ACK.bytes), PLAIN)).toThrow(/256 messages/);
    expect(() => packDatagram([], PLAIN)).toThrow(/0 messages/);
    expect(() => packDatagram([ACK.bytes, new Uint8Array(65_536)], PLAIN)).toThrow(/send it alone/);
  });
});

describe('compress', () => {
  const user: Message = { type: 'user', body: Buffer.from('abc'.repeat(40)) };
  // As Go's compress/lzw writes the type byte 8 and 40 times "abc".
  const lzw = bytes(
    '00 11 84 11 33 66 60 41 82 06 13 22 5c 78 b0 a1 42 87 0c 1f 4a 8c 48 11 a2 c5 89 17 2b 62 34 18 10',
  );
  const datagram = Uint8Array.from([...bytes('09 82 a4"Algo" 00 a3"Buf" da 00 21'), ...lzw]);

  test('is written and read as memberlist does', () => {
    expect(encodeDatagram([user], { ...PLAIN, compress: true })).toEqual(datagram);
    const [read] = messages(datagram);
    expect(Buffer.from((read as { body: Uint8Array }).body).toString()).toBe('abc'.repeat(40));
  });

  test('is left out where it would not make the datagram smaller', () => {
    expect(encodeDatagram([ACK.message], { ...PLAIN, compress: true })).toEqual(ACK.bytes);
  });

  test('is refused wherever it ends early', () => {
    for (let end = 1; end < datagram.length; end++) expect(reason(datagram.subarray(0, end))).toBe('truncated');
  });

  test('by an unknown algorithm, or of nothing, is refused', () => {
    expect(reason(bytes('09 82 a4"Algo" 01 a3"Buf" a1 00'))).toBe('unknown-compression');
    expect(reason(compressMessage(bytes('00 03 02')))).toBe('empty'); // clear, end
    expect(reason(compressMessage(bytes('00')))).toBe('bad-compression');
  });

  test('of more than a datagram holds is refused as a bomb', () => {
    const most = compressLzw(Uint8Array.from([8, ...new Uint8Array(65_535)]));
    expect(messages(compressMessage(most))).toHaveLength(1);
    const more = compressLzw(Uint8Array.from([8, ...new Uint8Array(65_536)]));
    expect(reason(compressMessage(more))).toBe('decompression-bomb');
  });

  test('in many parts shares the room of one datagram', () => {
    const half = compressMessage(compressLzw(Uint8Array.from([8, ...new Uint8Array(30_000)])));
    const result = decodeDatagram(packDatagram([half, half, half, half], PLAIN), {});
    expect(result.messages).toHaveLength(2);
    expect(result.dropped).toMatchObject({ refused: 2, reason: { reason: 'decompression-bomb' } });
  });

  test('in parts of which one is a bomb gives none of those after it', () => {
    const bomb = compressMessage(compressLzw(new Uint8Array(70_000)));
    const small = compressMessage(compressLzw(ACK.bytes));
    const result = decodeDatagram(packDatagram([small, bomb, small, PING.bytes], PLAIN), {});
    expect(result.messages).toEqual([ACK.message, PING.message]);
    expect(result.dropped?.refused).toBe(2);
  });
});

describe('checksum', () => {
  const datagram = Uint8Array.from([...bytes('0c ed 14 71 9a'), ...ACK.bytes]); // CRC-32 (IEEE) of the ack

  test('is written and verified', () => {
    expect(encodeDatagram([ACK.message], { ...PLAIN, checksum: true })).toEqual(datagram);
    expect(messages(datagram)).toEqual([ACK.message]);
  });

  test('refuses a datagram of which any bit has flipped', () => {
    for (let at = 1; at < datagram.length; at++) {
      const flipped = Uint8Array.from(datagram);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at & 7));
      expect(reason(flipped)).toBe('bad-checksum');
    }
    expect(reason(datagram.subarray(0, 4))).toBe('truncated');
    expect(reason(datagram.subarray(0, 5))).toBe('bad-checksum');
  });

  test('inside another message has no business there', () => {
    expect(decodeDatagram(packDatagram([datagram, ACK.bytes], PLAIN), {}).dropped?.reason?.reason).toBe(
      'unexpected-type',
    );
  });
});

describe('sealed', () => {
  // Version 1, nonce, then 17 bytes of ciphertext and 16 of tag: AES-GCM of the ack, key and nonce 00 01 02 ...
  const HEAD = '01 00 01 02 03 04 05 06 07 08 09 0a 0b';
  const AES_128 = '91 ee 00 9e 07 62 9b 3b 2a b6 a1 2f 65 c6 01 46 dc 0c';
  const cases = [
    { bits: 128, text: AES_128, tag: '52 9b f8 54 46 5f 51 7c 4c 6e d7 8b c5 6e 69 59' },
    {
      bits: 192,
      text: 'e4 7b 85 cb f8 c0 a5 61 b1 57 1c 27 ac cc ad 3e 61 b5',
      tag: 'a1 f3 d4 b0 9c c3 85 a8 b4 3e c3 f1 ee be da 4c',
    },
    {
      bits: 256,
      text: '45 80 71 4b a4 9c ae 74 ec 25 57 2e e2 8c 09 23 ec fc',
      tag: 'c5 86 cf b8 f0 a6 77 90 89 1d 6f bf 9a f9 15 ab',
    },
  ];

  test.each(cases)('by AES-$bits-GCM as memberlist does', ({ bits, text, tag }) => {
    const keyring = new Keyring(counting(bits / 8));
    const datagram = bytes(HEAD, text, tag);
    expect(encodeDatagram([ACK.message], { ...PLAIN, keyring })).toEqual(datagram);
    expect(messages(datagram, { keyring })).toEqual([ACK.message]);
  });

  test('authenticates the label, which stands before in plain', () => {
    const tag = 'da 99 df 40 55 a3 03 5e f2 3f 62 23 58 d0 5d cf';
    const datagram = bytes('f4 04 "blue"', HEAD, AES_128, tag);
    const settings = { label: 'blue', keyring: KEYRING };
    expect(encodeDatagram([ACK.message], { ...PLAIN, ...settings })).toEqual(datagram);
    expect(messages(datagram, settings)).toEqual([ACK.message]);
    expect(reason(bytes('f4 04 "blow"', HEAD, AES_128, tag), { ...settings, label: 'blow' })).toBe('no-key-opens');
  });

  test('by version 0 is read, with its padding removed', () => {
    // 14 bytes of 0e are sealed behind the ack.
    const sealed =
      '00 00 01 02 03 04 05 06 07 08 09 0a 0b 91 ee 00 9e 07 62 9b 3b 2a b6 a1 2f 65 c6 01 46 dc 0c 14 e8 5d e3 f3 f8 e8 2f ff 23 1a 4a ac 62 4b 90 d6 7e 52 01 e7 b9 11 45 62 03 e5 fa 1a 40';
    expect(messages(bytes(sealed), { keyring: KEYRING })).toEqual([ACK.message]);
  });

  test('wherever it ends early, or with any bit flipped, is refused', () => {
    const datagram = bytes(HEAD, AES_128, cases[0]?.tag ?? '');
    for (let end = 1; end < datagram.length; end++) {
      expect(reason(datagram.subarray(0, end), { keyring: KEYRING })).toBe(end < 29 ? 'truncated' : 'no-key-opens');
    }
    for (let at = 1; at < datagram.length; at++) {
      const flipped = Uint8Array.from(datagram);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at & 7));
      expect(reason(flipped, { keyring: KEYRING })).toBe('no-key-opens');
    }
    expect(reason(bytes('0f', HEAD.slice(2), AES_128, cases[0]?.tag ?? ''), { keyring: KEYRING })).toBe(
      'unknown-sealing',
    );
  });

  test('with another key is refused, until that key is installed', () => {
    const other = new Keyring(counting(32));
    const datagram = encodeDatagram([ACK.message], { ...PLAIN, keyring: other });
    const keyring = new Keyring(counting(16));
    expect(reason(datagram, { keyring })).toBe('no-key-opens');
    keyring.install(counting(32));
    expect(messages(datagram, { keyring })).toEqual([ACK.message]);
  });

  test('is asked for where there are keys, unless they are being rolled out', () => {
    expect(reason(SUSPECT.bytes, { keyring: KEYRING })).toBe('not-sealed');
    // A ping's type is a version of the sealing, too.
    expect(reason(PING.bytes, { keyring: KEYRING })).toBe('no-key-opens');
    expect(messages(PING.bytes, { keyring: KEYRING, verifyIncoming: false })).toEqual([PING.message]);
    const sealed = encodeDatagram([PING.message], { ...PLAIN, keyring: KEYRING });
    expect(messages(sealed, { keyring: KEYRING, verifyIncoming: false })).toEqual([PING.message]);
    expect(encodeDatagram([PING.message], { ...PLAIN, keyring: KEYRING, verifyOutgoing: false })).toEqual(PING.bytes);
  });

  test('without keys to open it is refused', () => {
    const datagram = encodeDatagram([ACK.message], { ...PLAIN, keyring: KEYRING });
    expect(decodeDatagram(datagram, {}).refusal).toMatchObject({
      reason: 'malformed',
      detail: expect.stringContaining('it is sealed, and this node lacks the gossip keys'),
    });
  });
});

describe('label', () => {
  const datagram = Uint8Array.from([...bytes('f4 04 "blue"'), ...ACK.bytes]);

  test('stands before the message', () => {
    expect(encodeDatagram([ACK.message], { ...PLAIN, label: 'blue' })).toEqual(datagram);
    expect(messages(datagram, { label: 'blue' })).toEqual([ACK.message]);
  });

  test('of another mesh, missing, not wanted, empty or cut off is refused', () => {
    expect(reason(datagram, { label: 'red' })).toBe('wrong-label');
    expect(reason(datagram)).toBe('wrong-label');
    expect(reason(ACK.bytes, { label: 'blue' })).toBe('wrong-label');
    expect(reason(bytes('f4 00 02'), { label: 'blue' })).toBe('malformed-label');
    for (let end = 1; end < 6; end++) expect(reason(datagram.subarray(0, end), { label: 'blue' })).toBe('truncated');
  });

  test('is taken for granted while it is being introduced', () => {
    const settings = { label: 'blue', skipLabelCheck: true };
    expect(messages(ACK.bytes, settings)).toEqual([ACK.message]);
    expect(reason(datagram, settings)).toBe('wrong-label');
    const inner = encodeDatagram([ACK.message], { ...PLAIN, label: 'blue', keyring: KEYRING }).subarray(6);
    expect(messages(inner, { ...settings, keyring: KEYRING })).toEqual([ACK.message]);
  });

  test('of more than 255 bytes is the caller’s mistake', () => {
    expect(() => encodeDatagram([ACK.message], { ...PLAIN, label: 'é'.repeat(128) })).toThrow(/256 bytes/);
  });
});

describe('room for gossip', () => {
  test('is what the budget leaves beside all that stands around messages', () => {
    expect(gossipRoom([], {})).toBe(1_400 - 2);
    expect(gossipRoom([100], {})).toBe(1_400 - 2 - 102);
    expect(gossipRoom([100], { label: 'blue', keyring: KEYRING, checksum: true })).toBe(1_400 - 2 - 102 - 6 - 29 - 5);
    expect(gossipRoom([100], { keyring: KEYRING, verifyOutgoing: false })).toBe(1_400 - 2 - 102);
    expect(gossipRoom([1_400], {})).toBe(0);
    expect(gossipRoom(new Array(255).fill(1), {})).toBe(0);
  });

  test('filled to the last byte gives a datagram of exactly the budget', () => {
    const settings = { ...PLAIN, label: 'blue', keyring: KEYRING, checksum: true };
    const room = gossipRoom([ACK.bytes.length], settings);
    const gossip: Message = { type: 'user', body: new Uint8Array(room - 2 - 1) };
    expect(encodeDatagram([ACK.message, gossip], settings)).toHaveLength(1_400);
  });
});

describe('whatever is sent', () => {
  const settings = fc.record({
    label: fc.constantFrom('', 'blue', 'é'),
    keyring: fc.constantFrom(undefined, KEYRING, new Keyring(counting(32), [counting(24)])),
    compress: fc.boolean(),
    checksum: fc.boolean(),
    random: fc.constant(counting),
  });

  test('is received', () => {
    fc.assert(
      fc.property(fc.array(arbitraryMessage, { minLength: 1, maxLength: 8 }), settings, (sent, options) => {
        expect(messages(encodeDatagram(sent, options), options)).toEqual(sent);
      }),
      { numRuns: 300 },
    );
  });

  test('and altered on its way never throws', () => {
    const edits = fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const options = settings.map((value) => ({ ...value, keyring: undefined, checksum: false }));
    fc.assert(
      fc.property(
        fc.array(arbitraryMessage, { minLength: 1, maxLength: 3 }),
        options,
        edits,
        (sent, option, changes) => {
          const datagram = encodeDatagram(sent, option);
          for (const [at, value] of changes) datagram[at % datagram.length] = value;
          decodeDatagram(datagram, option);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('by anybody never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), settings, fc.boolean(), (datagram, options, verifyIncoming) => {
        decodeDatagram(datagram, { ...options, verifyIncoming });
      }),
      { numRuns: 1_000 },
    );
  });
});
