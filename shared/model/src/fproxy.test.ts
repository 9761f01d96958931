// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { formatViolation, importFproxy } from './index.js';

test('apps become services with unique names and joined ports', () => {
  const text = JSON.stringify({
    Apps: [
      { Name: 'Five Thousand', Ports: [5001, 5002, 5200], Targets: ['tcp-echo.fly.dev:5001', 'bad.target:5001'] },
      { Name: 'five-thousand', Ports: [6000], Targets: ['[::1]:1'] },
      { Name: '!!!', Ports: [7000], Targets: ['a:1', 'a:1'] },
    ],
  });
  const services = importFproxy(text).configuration?.services ?? [];
  expect(services.map(({ name }) => name)).toEqual(['five-thousand', 'five-thousand-2', 'app']);
  expect(services[0]?.listeners[0]?.ports).toMatchObject([
    { first: 5001, last: 5002 },
    { first: 5200, last: 5200 },
  ]);
  expect(services[2]?.backends.map(({ address }) => address)).toEqual(['a:1']);
});

test('all mistakes are reported at once', () => {
  const text = JSON.stringify({ Apps: [{ Name: '', Ports: [0, 70000], Targets: [] }, { Ports: ['x'] }] });
  expect((importFproxy(text, 'f.json').violations ?? []).map(formatViolation)).toEqual([
    'f.json: Apps[0].Name: is empty (write a text)',
    'f.json: Apps[0].Ports[0]: is below 1 (write a list of ports from 1 to 65535)',
    'f.json: Apps[0].Ports[1]: is above 65535 (write a list of ports from 1 to 65535)',
    'f.json: Apps[0].Targets: is empty (write a list of "host:port" texts)',
    'f.json: Apps[1].Name: is missing (write a text)',
    'f.json: Apps[1].Ports[0]: is not number (write a list of ports from 1 to 65535)',
    'f.json: Apps[1].Targets: is missing (write a list of "host:port" texts)',
  ]);
});

test('a port of two apps is a mistake', () => {
  const app = (Name: string) => ({ Name, Ports: [80], Targets: ['a:1'] });
  const found = importFproxy(JSON.stringify({ Apps: [app('a'), app('b')] })).violations ?? [];
  expect(found.map(({ path }) => path)).toEqual(['Apps[1].Ports[0]']);
});
