// SPDX-License-Identifier: Apache-2.0
/**
 * The structs of memberlist's net.go as they stand on the wire: a map from field name to value, the names in alphabetical
 * order when written and in any order when read, unknown ones skipped, absent ones zero, of two the last.
 */
import type { MsgpackReader } from './msgpack-reader.js';
import type { MsgpackWriter } from './msgpack-writer.js';

interface Field<T> {
  readonly zero: T;
  read(reader: MsgpackReader, name: string): T;
  write(writer: MsgpackWriter, value: T): void;
  /** Go's omitempty: not written when zero. */
  omitted?(value: T): boolean;
}

type Values<F> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

export interface Struct<T> {
  read(reader: MsgpackReader): T;
  write(writer: MsgpackWriter, value: Readonly<T>): void;
}

function uint(max: number): Field<number> {
  return {
    zero: 0,
    read: (reader, name) => reader.uint(name, max),
    write: (writer, value) => writer.uint(value, max),
  };
}

const uint8 = uint(0xff);
const uint16 = uint(0xffff);
const uint32 = uint(0xffff_ffff);
/** Lengths and counts: what is more than 2^53 is beyond every limit, too. */
const int: Field<number> = {
  zero: 0,
  read: (reader, name) => reader.uint(name, Number.MAX_SAFE_INTEGER),
  write: (writer, value) => writer.int(value),
};
const bool: Field<boolean> = {
  zero: false,
  read: (reader, name) => reader.bool(name),
  write: (writer, value) => writer.bool(value),
};
const text: Field<string> = {
  zero: '',
  read: (reader, name) => reader.text(name),
  write: (writer, value) => writer.text(value),
};
const bytes: Field<Uint8Array> = {
  zero: new Uint8Array(0),
  read: (reader, name) => reader.bytes(name),
  write: (writer, value) => writer.rawOrNil(value),
};
/** Not copied when read: for what is unpacked at once. */
const view: Field<Uint8Array> = { ...bytes, read: (reader, name) => reader.view(name) };

function omitEmpty<T extends number | string | Uint8Array>(field: Field<T>): Field<T> {
  return { ...field, omitted: (value) => (typeof value === 'object' ? value.length === 0 : value === field.zero) };
}

function struct<const F extends Readonly<Record<string, Field<unknown>>>>(fields: F): Struct<Values<F>> {
  const byName = new Map(Object.entries(fields));
  const sorted = [...byName].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    read(reader) {
      const out: Record<string, unknown> = {};
      for (const [name, field] of byName) out[name] = field.zero;
      for (let left = reader.map(); left > 0; left--) {
        const name = reader.key();
        const field = byName.get(name);
        if (field === undefined) reader.skip();
        else out[name] = field.read(reader, name);
      }
      return out as Values<F>;
    },
    write(writer, value) {
      const values = value as Record<string, unknown>;
      const present = sorted.filter(([name, field]) => field.omitted?.(values[name]) !== true);
      writer.map(present.length);
      for (const [name, field] of present) {
        writer.text(name);
        field.write(writer, values[name]);
      }
    },
  };
}

export const PING = struct({
  SeqNo: uint32,
  Node: text,
  SourceAddr: omitEmpty(bytes),
  SourcePort: omitEmpty(uint16),
  SourceNode: omitEmpty(text),
});

export const INDIRECT_PING = struct({
  SeqNo: uint32,
  Target: bytes,
  Port: uint16,
  Node: text,
  Nack: bool,
  SourceAddr: omitEmpty(bytes),
  SourcePort: omitEmpty(uint16),
  SourceNode: omitEmpty(text),
});

export const ACK = struct({ SeqNo: uint32, Payload: bytes });
export const NACK = struct({ SeqNo: uint32 });
export const ERROR = struct({ Error: text });
/** Suspect and dead. */
export const ACCUSATION = struct({ Incarnation: uint32, Node: text, From: text });

export const ALIVE = struct({
  Incarnation: uint32,
  Node: text,
  Addr: bytes,
  Port: uint16,
  Meta: bytes,
  Vsn: bytes,
});

export const NODE_STATE = struct({
  Name: text,
  Addr: bytes,
  Port: uint16,
  Meta: bytes,
  Incarnation: uint32,
  State: int,
  Vsn: bytes,
});

export const PUSH_PULL_HEADER = struct({ Nodes: int, UserStateLen: int, Join: bool });
export const USER_HEADER = struct({ UserMsgLen: int });
export const COMPRESS = struct({ Algo: uint8, Buf: view });
