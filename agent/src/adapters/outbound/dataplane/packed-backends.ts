// SPDX-License-Identifier: Apache-2.0
/**
 * The backends of a packed Reply one by one, without decoding them: of a hundred thousand, most are what they were when
 * they were asked for last, and their bytes say so.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { DataplaneError, type PackedBackend } from '../../../ports/dataplane.js';

/** Fields of engine/v1/control.proto. */
const REPLY = { error: 2, backends: 9 } as const;
const BACKENDS_REPLY = { backends: 1 } as const;
const BACKEND_STATE = { service: 1, backend: 2 } as const;

/** Throws DataplaneError where the engine answers with an error, and here or while it is iterated where it is no Reply. */
export function packedBackendsOf(reply: Uint8Array): Iterable<PackedBackend> {
  let backends: Uint8Array = new Uint8Array(0);
  for (const { field, bytes } of fieldsOf(reply)) {
    if (field === REPLY.error && bytes.length > 0) throw new DataplaneError('protocol', `the engine: ${textOf(bytes)}`);
    if (field === REPLY.backends) backends = bytes;
  }
  return statesOf(backends);
}

function* statesOf(backends: Uint8Array): Iterable<PackedBackend> {
  for (const { field, bytes } of fieldsOf(backends)) {
    if (field === BACKENDS_REPLY.backends) yield { ...namesOf(bytes), packed: bytes };
  }
}

function namesOf(state: Uint8Array): { service: string; backend: string } {
  const names = { service: '', backend: '' };
  for (const { field, bytes } of fieldsOf(state)) {
    if (field === BACKEND_STATE.service) names.service = textOf(bytes);
    else if (field === BACKEND_STATE.backend) names.backend = textOf(bytes);
    // They come in the order of their numbers.
    if (field >= BACKEND_STATE.backend) break;
  }
  return names;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

/** Fields that are delimited by their length; others are passed over. */
function* fieldsOf(message: Uint8Array): Iterable<{ field: number; bytes: Uint8Array }> {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    try {
      const [field, type] = reader.tag();
      if (type === WireType.LengthDelimited) {
        const length = reader.uint32();
        const start = reader.pos;
        if (start + length > reader.len) throw new RangeError('a field ends after its message');
        reader.pos = start + length;
        yield { field, bytes: message.subarray(start, start + length) };
      } else reader.skip(type, field);
    } catch (error) {
      if (error instanceof DataplaneError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new DataplaneError('protocol', `the engine's answer can't be read: ${reason}`);
    }
  }
}
