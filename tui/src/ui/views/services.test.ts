// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { serviceOf } from '../../testing/mesh-state.js';
import { healthText, healthTone } from './services.js';

test.each([
  [{ healthyBackends: 3, mixedBackends: 0, backends: 3 }, 'good', '3 of 3 healthy'],
  [{ healthyBackends: 3, mixedBackends: 1, backends: 3 }, 'warn', '3 of 3 healthy, 1 to some nodes only'],
  [{ healthyBackends: 2, mixedBackends: 0, backends: 3 }, 'warn', '2 of 3 healthy'],
  [{ healthyBackends: 0, mixedBackends: 0, backends: 3 }, 'bad', '0 of 3 healthy'],
])('backends of a service: %j is %s', (counts, tone, text) => {
  const service = { ...serviceOf(0, 3, []), ...counts };
  expect([healthTone(service), healthText(service)]).toEqual([tone, text]);
});
