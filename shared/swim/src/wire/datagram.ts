// SPDX-License-Identifier: Apache-2.0
/**
 * One datagram, from the outside in: label header, sealing (with the label as associated data), CRC, compression, compound,
 * messages; each but the last may be absent. Source: memberlist's net.go (ingestPacket, rawSendMsgPacket) and util.go.
 */
import { crc32 } from 'node:zlib';
import {
  checkLabel,
  compressed,
  decompressed,
  joined,
  labelBytes,
  labelHeader,
  type SendSettings,
  sealingKeys,
  type WireSettings,
} from './envelope.js';
import type { Message } from './message.js';
import { decodeMessage, encodeMessage } from './message-codec.js';
import {
  CHECKSUM_HEADER_BYTES,
  COMPOUND_HEADER_BYTES,
  COMPOUND_PART_BYTES_MAX,
  COMPOUND_PART_HEADER_BYTES,
  COMPOUND_PARTS_MAX,
  DATAGRAM_BUDGET_BYTES,
  DATAGRAM_BYTES_MAX,
  isType,
  NESTING_MAX,
  TYPE,
} from './protocol.js';
import { attempt, type Refusal, refuse } from './refusal.js';
import { open, SEAL_BYTES, SEAL_VERSION_MAX, seal } from './sealing.js';

export interface DatagramSettings extends SendSettings {
  /** Only for a receiver that speaks version 5 or newer (the most that it says it speaks). */
  readonly checksum?: boolean | undefined;
}

/** Messages of a datagram that did not become part of its result, while others did. */
export interface Dropped {
  /** Parts of a compound message that the datagram ended before. */
  readonly truncated: number;
  readonly refused: number;
  /** Why the first of the refused ones was. */
  readonly reason?: Refusal;
}

export type DatagramResult =
  | { readonly messages: readonly Message[]; readonly dropped: Dropped; readonly refusal?: undefined }
  | { readonly refusal: Refusal; readonly messages?: undefined; readonly dropped?: undefined };

/**
 * How many bytes are left for messages beside those whose encoded lengths are given, once all that stands around them is
 * taken off the budget. Each further message costs its own length and COMPOUND_PART_HEADER_BYTES. 0: nothing fits.
 */
export function gossipRoom(
  lengths: readonly number[],
  settings: Omit<DatagramSettings, 'random'>,
  budgetBytes: number = DATAGRAM_BUDGET_BYTES,
): number {
  if (lengths.length >= COMPOUND_PARTS_MAX) return 0;
  let room = budgetBytes - labelHeader(labelBytes(settings)).length - COMPOUND_HEADER_BYTES;
  if (sealingKeys(settings) !== undefined) room -= SEAL_BYTES;
  if (settings.checksum === true) room -= CHECKSUM_HEADER_BYTES;
  for (const length of lengths) room -= length + COMPOUND_PART_HEADER_BYTES;
  return Math.max(0, room);
}

/**
 * Messages in the order given. Throws RangeError for what cannot be sent: no message or more than 255, one of more than
 * 65,535 bytes among others, a field out of its range.
 */
export function encodeDatagram(messages: readonly Message[], settings: DatagramSettings): Uint8Array {
  return packDatagram(messages.map(encodeMessage), settings);
}

/** As encodeDatagram, of messages that encodeMessage has encoded: gossip is sent more than once. */
export function packDatagram(parts: readonly Uint8Array[], settings: DatagramSettings): Uint8Array {
  const label = labelBytes(settings);
  let body = compound(parts);
  if (settings.compress === true) body = compressed(body);
  if (settings.checksum === true) body = withChecksum(body);
  const keys = sealingKeys(settings);
  if (keys !== undefined) body = seal(keys, body, label, settings.random);
  return joined(labelHeader(label), body);
}

function compound(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (only === undefined || parts.length > COMPOUND_PARTS_MAX) {
    throw new RangeError(`${parts.length} messages cannot be sent in a datagram: expected 1 to ${COMPOUND_PARTS_MAX}`);
  }
  if (parts.length === 1) return only;
  let at = COMPOUND_HEADER_BYTES + COMPOUND_PART_HEADER_BYTES * parts.length;
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, at));
  const view = new DataView(out.buffer);
  out[0] = TYPE.compound;
  out[1] = parts.length;
  parts.forEach((part, i) => {
    if (part.length > COMPOUND_PART_BYTES_MAX) {
      throw new RangeError(`a message of ${part.length} bytes cannot be sent beside others: send it alone`);
    }
    view.setUint16(COMPOUND_HEADER_BYTES + COMPOUND_PART_HEADER_BYTES * i, part.length);
    out.set(part, at);
    at += part.length;
  });
  return out;
}

function withChecksum(body: Uint8Array): Uint8Array {
  const out = new Uint8Array(CHECKSUM_HEADER_BYTES + body.length);
  out[0] = TYPE.checksum;
  new DataView(out.buffer).setUint32(1, crc32(body));
  out.set(body, CHECKSUM_HEADER_BYTES);
  return out;
}

/** Nothing of the result is memory of the datagram. */
export function decodeDatagram(datagram: Uint8Array, settings: WireSettings): DatagramResult {
  return attempt<DatagramResult, DatagramResult>(
    () => {
      if (datagram.length > DATAGRAM_BYTES_MAX) {
        refuse('too-large', `a datagram of ${datagram.length} bytes: at most ${DATAGRAM_BYTES_MAX} are allowed`);
      }
      const unpacking = new Unpacking();
      const body = checked(opened(unlabelled(datagram, settings), settings));
      attempt(
        () => unpacking.take(body, 0),
        ({ reason, detail }) => refuse(reason, detail + sealedHint(body, settings)),
      );
      return { messages: unpacking.messages, dropped: unpacking.dropped() };
    },
    (refusal) => ({ refusal }),
  );
}

/** The versions of the sealing are the types of the two pings, too. */
function sealedHint(body: Uint8Array, { keyring }: WireSettings): string {
  if (keyring !== undefined || (body[0] ?? 0xff) > SEAL_VERSION_MAX) return '';
  return '; or it is sealed, and this node lacks the gossip keys of the mesh';
}

function unlabelled(datagram: Uint8Array, settings: WireSettings): Uint8Array {
  if (datagram.length === 0) return refuse('empty', 'an empty datagram');
  const header = checkLabel(datagram, settings);
  if (header === undefined) return refuse('truncated', 'the datagram ends inside its label header');
  return datagram.subarray(header);
}

function opened(body: Uint8Array, settings: WireSettings): Uint8Array {
  const { keyring } = settings;
  if (keyring === undefined) return body;
  const label = labelBytes(settings);
  if (settings.verifyIncoming !== false) {
    const type = body[0] ?? 0;
    if (type > SEAL_VERSION_MAX && isType(type)) {
      refuse(
        'not-sealed',
        `a message of type ${type} in plain: the sender lacks the gossip keys, or does not seal yet`,
      );
    }
    return open(keyring, body, label);
  }
  return attempt(
    () => open(keyring, body, label),
    () => body,
  );
}

function checked(body: Uint8Array): Uint8Array {
  if (body[0] !== TYPE.checksum) return body;
  if (body.length < CHECKSUM_HEADER_BYTES) return refuse('truncated', 'the datagram ends inside its checksum');
  const content = body.subarray(CHECKSUM_HEADER_BYTES);
  const expected = new DataView(body.buffer, body.byteOffset).getUint32(1);
  const found = crc32(content);
  if (found === expected) return content;
  const hex = (value: number): string => value.toString(16).padStart(8, '0');
  return refuse(
    'bad-checksum',
    `CRC-32 is ${hex(found)}: the datagram says ${hex(expected)}; it was altered on its way`,
  );
}

/** Messages within messages, to a depth, and within one budget for all that is decompressed. */
class Unpacking {
  readonly messages: Message[] = [];
  #truncated = 0;
  #refused = 0;
  #reason: Refusal | undefined;
  #decompressedLeft = DATAGRAM_BYTES_MAX;

  dropped(): Dropped {
    const counts = { truncated: this.#truncated, refused: this.#refused };
    return this.#reason === undefined ? counts : { ...counts, reason: this.#reason };
  }

  take(bytes: Uint8Array, depth: number): void {
    if (depth > NESTING_MAX) refuse('too-deep', `messages within messages, deeper than ${NESTING_MAX} levels`);
    const type = bytes[0];
    if (type === undefined) refuse('empty', 'a message of no bytes');
    else if (type === TYPE.compound) this.#takeParts(bytes, depth);
    else if (type === TYPE.compress) this.take(this.#decompressed(bytes), depth + 1);
    else this.messages.push(decodeMessage(bytes) ?? notOfDatagrams(type));
  }

  #decompressed(bytes: Uint8Array): Uint8Array {
    const bytesMax = this.#decompressedLeft;
    // What cannot be decompressed has cost up to all of it.
    this.#decompressedLeft = 0;
    const plain = decompressed(bytes, bytesMax);
    this.#decompressedLeft = bytesMax - plain.length;
    return plain;
  }

  #takeParts(bytes: Uint8Array, depth: number): void {
    const count = bytes[1] ?? 0;
    let at = COMPOUND_HEADER_BYTES + COMPOUND_PART_HEADER_BYTES * count;
    if (bytes.length < at) refuse('truncated', 'a compound message ends before the lengths of its parts');
    for (let i = 0; i < count; i++) {
      const head = COMPOUND_HEADER_BYTES + COMPOUND_PART_HEADER_BYTES * i;
      const end = at + (bytes[head] ?? 0) * 256 + (bytes[head + 1] ?? 0);
      // Those after it have no beginning.
      if (end > bytes.length) {
        this.#truncated += count - i;
        return;
      }
      const part = bytes.subarray(at, end);
      at = end;
      attempt(
        () => this.take(part, depth + 1),
        (refusal) => {
          this.#refused++;
          this.#reason ??= refusal;
        },
      );
    }
  }
}

function notOfDatagrams(type: number): never {
  if (isType(type)) {
    refuse('unexpected-type', `a message of type ${type}, which does not belong there in a datagram`);
  }
  return refuse('unknown-type', `a message of type ${type}, which is not known; the sender may encrypt, or be newer`);
}
