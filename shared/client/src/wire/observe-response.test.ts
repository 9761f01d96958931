// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BackendStatusSchema, Health, ServiceTierSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObservedObjectSchema, ObserveResponseSchema } from '@marcher/proto/marcher/v1/observe_service_pb';
import { CountersSchema, ServiceStatsSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeObserveResponse } from './observe-response.js';

const name = fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('web', 'service-0001', 'näme', 'x'.repeat(300)));
const total = fc.oneof(
  fc.constantFrom(0n, 1n, 127n, 128n, (1n << 49n) - 1n, 1n << 49n, (1n << 64n) - 1n),
  fc.bigInt({ min: 0n, max: 1n << 40n }),
);
const counters = fc
  .record(
    Object.fromEntries(
      CountersSchema.fields
        .filter(({ fieldKind }) => fieldKind === 'scalar')
        .map(({ localName }) => [localName, total]),
    ),
  )
  .chain((scalars) =>
    fc.array(total, { maxLength: 4 }).map((connectTimeUs) => create(CountersSchema, { ...scalars, connectTimeUs })),
  );
const backend = fc
  .record({
    service: name,
    backend: name,
    weight: fc.nat(),
    draining: fc.boolean(),
    connections: total,
    elsewhere: fc.option(total, { nil: undefined }),
    endpoints: fc.array(
      fc.record({
        address: name,
        health: fc.constantFrom(Health.UNSPECIFIED, Health.HEALTHY, Health.UNHEALTHY, 77 as Health),
        reason: name,
        ejected: fc.boolean(),
        connections: total,
      }),
      { maxLength: 2 },
    ),
  })
  .map(({ elsewhere, ...status }) =>
    create(BackendStatusSchema, elsewhere === undefined ? status : { ...status, elsewhere }),
  );
const tier = fc
  .record({
    ...{
      service: name,
      tier: name,
      reasons: fc.array(name, { maxLength: 2 }),
      fasterIf: fc.array(name, { maxLength: 2 }),
    },
    ...{ xdpPackets: total, xdpBytes: total, bytesReturned: total },
  })
  .map((each) => create(ServiceTierSchema, each));
const object = fc
  .record({
    ...{ kind: name, name, generation: total, digest: fc.uint8Array({ maxLength: 8 }) },
    unmet: fc.array(fc.record({ type: name, reason: name }), { maxLength: 1 }),
    declared: fc.constantFrom<'service' | undefined>('service', undefined),
  })
  .map(({ declared, ...each }) =>
    create(
      ObservedObjectSchema,
      declared === undefined ? each : { ...each, declared: { case: declared, value: { name: each.name } } },
    ),
  );
const response = fc
  .record({
    node: fc.option(fc.record({ nodeId: name, name, run: name }), { nil: undefined }),
    time: fc.option(fc.record({ seconds: fc.bigInt({ min: 0n, max: 1n << 33n }), nanos: fc.nat(999_999_999) }), {
      nil: undefined,
    }),
    ...{ forget: fc.boolean(), synced: fc.boolean(), version: total },
    ...{ objects: fc.array(object, { maxLength: 3 }), backends: fc.array(backend, { maxLength: 3 }) },
    ...{ tiers: fc.array(tier, { maxLength: 3 }), goneTiers: fc.array(name, { maxLength: 2 }) },
    traffic: fc.array(
      fc
        .record({ service: name, counters: fc.option(counters, { nil: undefined }) })
        .map((stats) =>
          create(ServiceStatsSchema, { service: stats.service, ...(stats.counters && { counters: stats.counters }) }),
        ),
      { maxLength: 3 },
    ),
    members: fc.array(fc.record({ nodeId: name, name }), { maxLength: 2 }),
  })
  .map(({ node, time, ...each }) =>
    create(ObserveResponseSchema, { ...each, ...(node && { node }), ...(time && { time }) }),
  );

describe('decodeObserveResponse', () => {
  test('gives what the descriptors give, whatever an agent says', () => {
    fc.assert(
      fc.property(response, (said) => {
        const bytes = toBinary(ObserveResponseSchema, said);
        const expected = fromBinary(ObserveResponseSchema, bytes);
        expect(decodeObserveResponse(bytes)).toEqual(expected);
        // Not known, and known.
        for (let i = 0; i < 2; i++) expect(decodeObserveResponse(bytes, true)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test('of a state what has the same bytes is the same object, and what moves is one of its own', () => {
    const bytes = toBinary(
      ObserveResponseSchema,
      create(ObserveResponseSchema, {
        objects: [{ kind: 'Service', name: 'web', generation: 7n, digest: new Uint8Array(8) }],
        backends: [{ service: 'web', backend: 'a', endpoints: [{ address: '10.0.0.1:80' }] }],
        tiers: [{ service: 'web', tier: 'relay', reasons: ['it is so'] }],
      }),
    );
    const [one, other, own] = [true, true, false].map((isCommon) => decodeObserveResponse(bytes, isCommon));
    for (const list of ['objects', 'backends', 'tiers'] as const) {
      expect(other?.[list][0]).toBe(one?.[list][0]);
      expect(own?.[list][0]).not.toBe(one?.[list][0]);
      expect(own?.[list][0]).toEqual(one?.[list][0]);
    }
  });

  test('gives what the descriptors give, or their error, of bytes that somebody has changed', () => {
    fc.assert(
      fc.property(
        response,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        (said, changes) => {
          const bytes = toBinary(ObserveResponseSchema, said);
          decodeObserveResponse(bytes, true);
          for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
          const of = (decode: () => unknown): unknown => {
            try {
              return decode();
            } catch {
              return 'no message';
            }
          };
          const expected = of(() => fromBinary(ObserveResponseSchema, bytes));
          for (const isCommon of [false, true])
            expect(of(() => decodeObserveResponse(bytes, isCommon))).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('gives what the descriptors give of a field that is cut short, and reads on in what comes after it', () => {
    const said = create(ObserveResponseSchema, {
      time: { seconds: 268_435_456n, nanos: 268_435_456 },
      node: { nodeId: '   ', name: ' ' },
      version: 1n << 35n,
      objects: [
        { kind: '  ', name: 'web', generation: 1n << 35n, digest: new Uint8Array(2) },
        { kind: 'service-0001', name: ' ', declared: { case: 'service', value: { name: ' ' } } },
      ],
      goneTiers: ['x'.repeat(300)],
      members: [{ nodeId: 'x'.repeat(300) }],
    });
    const bytes = toBinary(ObserveResponseSchema, said);
    const of = (decode: () => unknown): unknown => {
      try {
        return decode();
      } catch {
        return 'no message';
      }
    };
    for (let at = 0; at < bytes.length; at++) {
      for (const byte of [0, 1, 21, 58, 101, 178]) {
        const changed = bytes.slice();
        changed[at] = byte;
        expect(of(() => decodeObserveResponse(changed))).toEqual(of(() => fromBinary(ObserveResponseSchema, changed)));
      }
    }
  });

  test('takes fields that a newer agent has', () => {
    const known = toBinary(
      ObserveResponseSchema,
      create(ObserveResponseSchema, { backends: [{ service: 'web', backend: 'a' }] }),
    );
    // Field 2,000 of the response, a text; and field 15 of the backend, a number.
    const backend_ = toBinary(BackendStatusSchema, create(BackendStatusSchema, { service: 'web', backend: 'b' }));
    const newer = Uint8Array.from([...known, 0x82, 0x7d, 1, 65, 0x4a, backend_.length + 2, ...backend_, 0x78, 7]);
    const decoded = decodeObserveResponse(newer);
    expect(decoded).toEqual(fromBinary(ObserveResponseSchema, newer));
    expect(decoded.backends.map(({ backend: each }) => each)).toEqual(['a', 'b']);
  });
});
