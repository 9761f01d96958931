// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { type Service, ServiceSchema } from '@marcher/model';
import { beforeEach, describe, expect, test } from 'vitest';
import type { ConfigStore, StoredService } from '../ports/config-store.js';
import { ConfigurationIndex } from './change-preparation.js';
import { packService } from './service-codec.js';

function service(name: string, port: number, address = '10.0.0.1:80'): Service {
  return create(ServiceSchema, {
    name,
    listeners: [{ ports: [{ first: port, last: port }] }],
    backends: [{ address }],
  });
}

/** The bytes with a field that there is not, so that they are not what is stored. */
function foreign(packed: Uint8Array): Uint8Array {
  return Uint8Array.of(...packed, 0x98, 0x06, 0x01);
}

describe('a change of packed services', () => {
  let bodies: Map<string, Uint8Array>;
  let index: ConfigurationIndex;
  let compiled: string[];

  beforeEach(() => {
    bodies = new Map(['a', 'b'].map((name, i) => [name, packService(service(name, 80 + i))]));
    const stored = (name: string): StoredService | undefined => {
      const body = bodies.get(name);
      return body && { name, body, generation: 1n };
    };
    const scan = () => [...bodies.keys()].map((name) => stored(name) as StoredService);
    index = new ConfigurationIndex({ get: stored, scan, objects: () => [] } as Partial<ConfigStore> as ConfigStore);
    index.load();
    compiled = [];
  });

  function prepare(upsert: Uint8Array[], replaceAll = false) {
    return index.prepare({ upsert, remove: [], replaceAll }, ({ name }) => compiled.push(name));
  }

  test('leaves alone what is stored, however it was encoded', () => {
    const [a, b] = [...bodies.values()] as [Uint8Array, Uint8Array];
    expect(prepare([a, foreign(b)], true)).toMatchObject({ changes: [] });
    expect(compiled).toEqual([]);
  });

  test('stores what differs in the one form that services are stored in', () => {
    const after = packService(service('b', 81, '10.0.0.2:80'));
    const prepared = prepare([foreign(after)]);
    expect(prepared).toMatchObject({ changes: [{ name: 'b', before: bodies.get('b'), after }] });
    expect(compiled).toEqual(['b']);
  });

  test('goes by the name that decoding gives, not by the first', () => {
    // Two names: the last one counts (protobuf's rule for fields that come twice).
    const twice = Uint8Array.of(0x0a, 1, 0x61, ...packService(service('c', 90)));
    expect(prepare([twice])).toMatchObject({ changes: [{ name: 'c', before: undefined }] });
  });

  test('names the one that is not readable, beside all other mistakes', () => {
    const broken = Uint8Array.of(0x0a, 0x7f, 0x61);
    const notText = Uint8Array.of(0x0a, 0x01, 0xff);
    const prepared = prepare([broken, packService(service('Upper', 90)), notText]);
    if (!('violations' in prepared)) throw new Error('it was accepted');
    expect(prepared.violations.map(({ path }) => path)).toEqual(['services[0]', 'services[1].name', 'services[2]']);
    expect(prepared.violations[0]?.reason).toMatch(/^is not a readable marcher\.v1\.Service: /);
  });

  test('reports a service that is given twice, changed or not', () => {
    const [a] = [...bodies.values()] as [Uint8Array];
    const prepared = prepare([a, a, packService(service('c', 90)), packService(service('c', 91))]);
    if (!('violations' in prepared)) throw new Error('it was accepted');
    expect(prepared.violations.map(({ path }) => path)).toEqual(['services[1].name', 'services[3].name']);
  });
});
