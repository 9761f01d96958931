// SPDX-License-Identifier: Apache-2.0
/**
 * Observe by any of Connect's transports, with answers decoded by observe-response.ts. A transport decodes by a descriptor: it is given
 * one without fields, and what it keeps as unknown is the message as it came.
 */
import type { UnknownField } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { type CallOptions, type Client, createClient, type Transport } from '@connectrpc/connect';
import { type ObserveResponse, ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { decodeObserveResponse } from './observe-response.js';

const observe = { ...ObserveService.method.observe, output: EmptySchema };
const RAW = { ...ObserveService, methods: [observe], method: { observe } } as unknown as typeof ObserveService;

type Observe = Client<typeof ObserveService>['observe'];

export function observeClient(transport: Transport): Client<typeof ObserveService> {
  const raw = createClient(RAW, transport);
  return { observe: (request, options) => decodedAnswers(raw.observe, request, options) };
}

async function* decodedAnswers(
  call: Observe,
  request: Parameters<Observe>[0],
  options: CallOptions | undefined,
): AsyncIterable<ObserveResponse> {
  let isSynced = false;
  for await (const answer of call(request, options)) {
    const response = decodeObserveResponse(bytesOf(answer.$unknown ?? []), !isSynced);
    isSynced ||= response.synced;
    yield response;
  }
}

/** Fields below 16 have a tag of one byte, those below 2,048 one of two. */
const TAG_BYTES_MAX = 5;

function bytesOf(fields: readonly UnknownField[]): Uint8Array {
  let length = 0;
  for (const { data } of fields) length += data.length + TAG_BYTES_MAX;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const { no, wireType, data } of fields) {
    let tag = ((no << 3) | wireType) >>> 0;
    for (; tag >= 0x80; tag >>>= 7) bytes[at++] = (tag & 0x7f) | 0x80;
    bytes[at++] = tag;
    bytes.set(data, at);
    at += data.length;
  }
  return bytes.subarray(0, at);
}
