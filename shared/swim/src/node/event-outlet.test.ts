// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { EventOutlet } from './event-outlet.js';
import type { NodeEvent } from './network-node.js';
import type { FromNode } from './thread-messages.js';

const health = (score: number): NodeEvent => ({ type: 'health', score });

it('events that nobody takes are left out, until all before are taken; then how things stand is told', () => {
  const posted: FromNode[] = [];
  const outlet = new EventOutlet(
    (message) => posted.push(message),
    () => [],
    3,
  );
  expect([outlet.add(health(1)), outlet.add(health(2))]).toEqual([true, false]);
  outlet.flush();
  outlet.add(health(3));
  outlet.flush();
  for (let score = 4; score < 100; score++) outlet.add(health(score));
  outlet.add({ type: 'incarnation', incarnation: 5 });
  outlet.flush();
  expect(posted.map((message) => (message.type === 'events' ? message.events.length : message.type))).toEqual([
    2, 1, 1,
  ]);
  outlet.taken(2);
  outlet.add(health(100));
  outlet.taken(2);
  expect(posted.at(-1)).toEqual({ type: 'resync', members: [], lost: 97 });
  outlet.add(health(101));
  outlet.flush();
  expect(posted.at(-1)).toEqual({ type: 'events', events: [health(101)] });
});
