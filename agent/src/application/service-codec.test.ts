// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Service, ServiceSchema } from '@marcher/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isCanonical } from './canonical.js';
import { packedName, packService, repackService, unpackService } from './service-codec.js';

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const number = maybe(fc.oneof(fc.constantFrom(0, 1, 127, 128, 0xffff_ffff), fc.nat(70_000)));
const text = fc.oneof(fc.constant(''), fc.string({ maxLength: 8 }), fc.string({ minLength: 120, maxLength: 140 }));

const services: fc.Arbitrary<Service> = fc
  .record({
    name: text,
    listeners: fc.array(
      fc.record({
        protocol: fc.nat(2),
        address: text,
        ports: fc.array(fc.record({ first: fc.nat(65_535), last: fc.nat(65_535) }), { maxLength: 3 }),
        acceptProxyFrom: fc.array(text, { maxLength: 3 }),
        maxConnections: number,
      }),
      { maxLength: 3 },
    ),
    backends: fc.array(
      fc.record({ address: text, name: text, weight: number, softLimit: number, drain: fc.boolean() }),
      { maxLength: 4 },
    ),
    health: maybe(
      fc.record({ type: fc.nat(3), intervalMs: number, udp: maybe(fc.record({ payload: fc.uint8Array() })) }),
    ),
    outlier: maybe(fc.record({ enabled: maybe(fc.boolean()) })),
    labels: fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), text, { maxKeys: 3 }),
  })
  .map((init) => create(ServiceSchema, init as object));

describe('a service that arrives packed', () => {
  test('is recognised when it is as it would be packed, labels aside', () => {
    fc.assert(
      fc.property(services, (service) => {
        const packed = packService(service);
        if (Object.keys(service.labels).length === 0) expect(isCanonical(ServiceSchema, packed)).toBe(true);
        expect(repackService(packed, unpackService(packed))).toEqual(packed);
      }),
    );
  });

  test('is stored as packService packs it, however it was encoded', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.constantFrom('set', 'insert', 'delete', 'copy'), fc.nat(255)), {
      minLength: 1,
      maxLength: 3,
    });
    let decodable = 0;
    fc.assert(
      fc.property(services, edits, (service, list) => {
        let bytes = [...packService(service)];
        for (const [place, what, byte] of list) {
          const at = bytes.length === 0 ? 0 : place % bytes.length;
          if (what === 'set') bytes[at] = byte;
          else if (what === 'insert') bytes.splice(at, 0, byte);
          else if (what === 'delete') bytes.splice(at, 1);
          else bytes = [...bytes, ...bytes.slice(at)];
        }
        const packed = Uint8Array.from(bytes);
        let decoded: Service;
        try {
          decoded = fromBinary(ServiceSchema, packed);
        } catch {
          return;
        }
        decodable++;
        expect(repackService(packed, decoded)).toEqual(packService(fromBinary(ServiceSchema, packed)));
      }),
      { numRuns: 5_000 },
    );
    expect(decodable).toBeGreaterThan(100);
  });

  const web = toBinary(ServiceSchema, create(ServiceSchema, { name: 'web', backends: [{ address: 'a', weight: 1 }] }));
  test.each([
    ['an unknown field', [...web, 0x98, 0x06, 0x01]],
    ['a field that comes twice', [0x0a, 0x01, 0x61, ...web]],
    ['fields out of order', [0x1a, 0x00, 0x0a, 0x01, 0x61]],
    ['a number in more bytes than it needs', [0x1a, 0x06, 0x0a, 0x01, 0x61, 0x18, 0x81, 0x00]],
    ['a length in more bytes than it needs', [0x0a, 0x83, 0x00, 0x77, 0x65, 0x62]],
    ['a default written out', [0x0a, 0x00]],
    ['a bool of 2', [0x1a, 0x02, 0x50, 0x02]],
  ])('is packed anew for %s', (_what, bytes) => {
    const packed = Uint8Array.from(bytes);
    expect(isCanonical(ServiceSchema, packed)).toBe(false);
    expect(repackService(packed, unpackService(packed))).toEqual(packService(unpackService(packed)));
  });

  test('has its name read from where it is, and from nowhere else', () => {
    expect(packedName(web)).toBe('web');
    expect(packedName(web.subarray(0, 4))).toBeUndefined();
    expect(packedName(Uint8Array.of(0x1a, 0x00))).toBeUndefined();
    expect(packedName(new Uint8Array(0))).toBeUndefined();
  });
});
