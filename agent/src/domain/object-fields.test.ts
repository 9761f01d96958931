// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { GuardSchema, ServiceSchema } from '@marcher/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changedRegisters, EXISTS, joinObject, splitObject } from './object-fields.js';

const backend = (name: string, weight = 1) => ({ name, address: `192.0.2.1:${8000 + weight}`, weight });

const pack = (backends: ReturnType<typeof backend>[], more: object = {}): Uint8Array =>
  toBinary(ServiceSchema, create(ServiceSchema, { name: 'web', backends, ...more }));

const names = (body: Uint8Array | undefined): string[] =>
  fromBinary(ServiceSchema, body ?? new Uint8Array(0)).backends.map(({ name }) => name);

/** Both nodes' changes since a common state, as registers that do not collide. */
const merged = (base: Uint8Array, ...changes: Uint8Array[]): Uint8Array | undefined => {
  const before = splitObject('Service', base);
  const after = new Map(before);
  for (const change of changes) {
    for (const [register, bytes] of changedRegisters(before, splitObject('Service', change))) {
      if (bytes === undefined) after.delete(register);
      else after.set(register, bytes);
    }
  }
  return joinObject('Service', after);
};

describe('an object as registers', () => {
  const services = fc.record({
    name: fc.constant('web'),
    trafficPolicy: fc.string(),
    labels: fc.dictionary(fc.string({ minLength: 1 }), fc.string()),
    listeners: fc.array(
      fc.record({ address: fc.string(), ports: fc.array(fc.record({ first: fc.nat(), last: fc.nat() })) }),
    ),
    backends: fc.uniqueArray(fc.record({ name: fc.string({ minLength: 1 }), address: fc.string() }), {
      selector: ({ name }) => name,
    }),
  });

  test('is the same object again', () => {
    fc.assert(
      fc.property(services, (service) => {
        const body = toBinary(ServiceSchema, create(ServiceSchema, service));
        expect(Buffer.from(joinObject('Service', splitObject('Service', body)) ?? [])).toEqual(Buffer.from(body));
      }),
    );
  });

  test('of other kinds, too', () => {
    const body = toBinary(
      GuardSchema,
      create(GuardSchema, { name: 'edge', rules: [{ sources: ['192.0.2.0/24'] }, {}] }),
    );
    expect([...splitObject('Guard', body).keys()]).toEqual([EXISTS, '2']);
    expect(Buffer.from(joinObject('Guard', splitObject('Guard', body)) ?? [])).toEqual(Buffer.from(body));
  });

  test('keeps fields that this version does not know', () => {
    const newer = new BinaryWriter()
      .raw(pack([backend('a')]))
      .uint32((900 << 3) | 2)
      .string('later')
      .finish();
    const registers = splitObject('Service', newer);
    expect(registers.has('900')).toBe(true);
    expect(Buffer.from(joinObject('Service', registers) ?? [])).toEqual(Buffer.from(newer));
  });

  test('changes of two nodes to different fields both stand', () => {
    const base = pack([backend('a')]);
    const both = merged(
      base,
      pack([backend('a')], { trafficPolicy: 'gold' }),
      pack([backend('a')], { labels: { team: 'x' } }),
    );
    const service = fromBinary(ServiceSchema, both ?? new Uint8Array(0));
    expect(service).toMatchObject({ trafficPolicy: 'gold', labels: { team: 'x' } });
  });

  test('backends that two nodes add are both there, those that are known first', () => {
    const base = pack([backend('b'), backend('a')]);
    const one = pack([backend('b'), backend('a'), backend('z')]);
    const other = pack([backend('b'), backend('a'), backend('c')]);
    expect(names(merged(base, one, other))).toEqual(['b', 'a', 'c', 'z']);
    expect(names(merged(base, other, one))).toEqual(['b', 'a', 'z', 'c']);
  });

  test('a backend that one node removes while the other changes another is gone', () => {
    const base = pack([backend('a'), backend('b')]);
    const both = merged(base, pack([backend('b')]), pack([backend('a'), backend('b', 7)]));
    expect(names(both)).toEqual(['b']);
    expect(fromBinary(ServiceSchema, both ?? new Uint8Array(0)).backends[0]?.weight).toBe(7);
  });

  test('a backend without a name goes by its address', () => {
    const body = pack([{ ...backend('', 3) }]);
    expect([...splitObject('Service', body).keys()]).toContain('3/192.0.2.1%3A8003');
  });

  test('what says nothing of existence is nothing', () => {
    const registers = splitObject('Service', pack([backend('a')]));
    registers.delete(EXISTS);
    expect(joinObject('Service', registers)).toBeUndefined();
  });

  test('an order that cannot be read is that of the names', () => {
    const registers = splitObject('Service', pack([backend('b'), backend('a')]));
    registers.set('3', Uint8Array.of(0xff));
    expect(names(joinObject('Service', registers))).toEqual(['a', 'b']);
  });
});
