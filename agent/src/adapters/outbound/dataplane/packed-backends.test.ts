// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BackendStateSchema, ReplySchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import { expect, test } from 'vitest';
import { packedBackendsOf } from './packed-backends.js';

const states = [
  create(BackendStateSchema, {
    ...{ service: 'web', backend: 'ä', weight: 3, draining: true, connections: 1n << 60n, elsewhere: 4n },
    endpoints: [{ address: '10.0.0.1:80', health: 'healthy' }, { address: '[::1]:80' }],
  }),
  create(BackendStateSchema, { service: 'dns', backend: '' }),
];

const packed = (reply: MessageInitShape<typeof ReplySchema>) => toBinary(ReplySchema, create(ReplySchema, reply));
const ofStates = (): Uint8Array =>
  packed({ id: 7n, kind: { case: 'backends', value: { backends: states, inMemfd: true } } });

test('gives each backend by its names, and the bytes that it decodes from', () => {
  const found = [...packedBackendsOf(ofStates())];
  expect(found.map(({ service, backend }) => `${service}/${backend}`)).toEqual(['web/ä', 'dns/']);
  expect(found.map((one) => fromBinary(BackendStateSchema, one.packed))).toEqual(states);
});

test('gives nothing of an answer without backends', () => {
  expect([...packedBackendsOf(packed({ id: 7n, kind: { case: 'backends', value: {} } }))]).toEqual([]);
  expect([...packedBackendsOf(new Uint8Array(0))]).toEqual([]);
});

test('an error of the engine is one here', () => {
  expect(() => packedBackendsOf(packed({ error: 'out of memory' }))).toThrow('the engine: out of memory');
});

test('what is cut off anywhere is refused, or gives whole backends', () => {
  const whole = ofStates();
  for (let length = 0; length < whole.length; length++) {
    let found: string[] = [];
    let failure: unknown;
    try {
      found = Array.from(packedBackendsOf(whole.subarray(0, length)), ({ service }) => service);
    } catch (error) {
      failure = error;
    }
    if (failure === undefined) expect(found).toEqual([]);
    else expect(failure).toMatchObject({ code: 'protocol' });
  }
});
