// SPDX-License-Identifier: Apache-2.0
import { parseConfiguration, type Service } from '@marcher/model';
import { expect, test } from 'vitest';
import { diffServices } from './diff.js';

function service(fields: object): Service {
  return parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [{ name: 'a', ...fields }] }))
    .configuration?.services[0] as Service;
}

test('names the fields that differ, in the words of the file', () => {
  const before = service({ backends: [{ address: 'a:1', weight: 1 }, { address: 'b:1' }], timeouts: { idle: '1m' } });
  const after = service({
    backends: [{ address: 'b:1' }, { address: 'a:1', weight: 2 }],
    timeouts: { idle: '90s' },
    health: {},
  });
  expect(diffServices(before, after)).toEqual([
    { path: 'backends[1].weight', before: '1', after: '2' },
    { path: 'timeouts.idle', before: '1m', after: '90s' },
    { path: 'health', before: '', after: '{}' },
  ]);
});

test('a removed backend is not a change of the ones behind it', () => {
  const before = service({ backends: [{ address: 'a:1' }, { address: 'b:1' }] });
  expect(diffServices(before, service({ backends: [{ address: 'b:1' }] }))).toEqual([
    { path: 'backends[0].address', before: 'a:1', after: '' },
  ]);
});

test('creation and removal show everything', () => {
  const one = service({ listeners: [{ protocol: 'tcp', port: 80 }] });
  expect(diffServices(undefined, one).map(({ path, after }) => `${path}=${after}`)).toEqual([
    'name=a',
    'listeners[0].protocol=tcp',
    'listeners[0].port=80',
  ]);
  expect(diffServices(one, undefined).every(({ after }) => after === '')).toBe(true);
  expect(diffServices(one, one)).toEqual([]);
});
