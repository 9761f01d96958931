// SPDX-License-Identifier: Apache-2.0
import { type Object$, objectsOf, parseConfiguration, type Service } from '@marcher/model';
import { expect, test } from 'vitest';
import { diffObjects, diffServices } from './diff.js';

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

function guard(...rules: object[]): Object$ {
  const text = JSON.stringify({ apiVersion: 'marcher/v1', guards: [{ name: 'edge', rules }] });
  const { configuration } = parseConfiguration(text);
  return (configuration && objectsOf(configuration)[0]) as Object$;
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => `192.0.2.${i}`);

test('a rule that comes or goes is not a change of those behind it, nor is their order', () => {
  const ssh = { action: 'deny', protocol: 'tcp', ports: [22] };
  const other = { action: 'allow', sources: ['192.0.2.0/24'] };
  expect(diffObjects(guard(ssh, other), guard({ action: 'deny', sources: ['203.0.113.0/24'] }, other, ssh))).toEqual([
    { path: 'rules[0].action', before: '', after: 'deny' },
    { path: 'rules[0].sources', before: '', after: '["203.0.113.0/24"]' },
  ]);
  expect(diffObjects(guard(other, { ...other, sources: ['192.0.3.0/24'] }), guard(other))).toEqual([
    { path: 'rules[1].action', before: 'allow', after: '' },
    { path: 'rules[1].sources', before: '["192.0.3.0/24"]', after: '' },
  ]);
});

test('of a long list what came and what went is shown', () => {
  const deny = (sources: string[]) => guard({ action: 'deny', sources });
  const many = numbers(200);
  expect(diffObjects(deny(many), deny([...many.slice(1), '198.51.100.1']))).toEqual([
    { path: 'rules[0].sources[0]', before: '192.0.2.0', after: '' },
    { path: 'rules[0].sources[199]', before: '', after: '198.51.100.1' },
  ]);
  expect(diffObjects(deny(many), deny(many.toReversed()))).toHaveLength(1);
  expect(diffObjects(deny(['192.0.2.1']), deny(['192.0.2.2']))).toEqual([
    { path: 'rules[0].sources', before: '["192.0.2.1"]', after: '["192.0.2.2"]' },
  ]);
});
