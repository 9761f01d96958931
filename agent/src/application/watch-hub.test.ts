// SPDX-License-Identifier: Apache-2.0
/** Names for who reads at a pace of its own; what a watch sends is told by agent.test.ts. */
import { beforeEach, expect, test } from 'vitest';
import { WatchHub } from './watch-hub.js';

let version: bigint;
let hub: WatchHub;
let told: number;

beforeEach(() => {
  version = 5n;
  told = 0;
  hub = new WatchHub(
    {
      get version() {
        return version;
      },
      ...{ get: () => undefined, names: () => [], object: () => undefined },
      ...{ objectNames: () => [], changedSince: () => undefined },
    },
    { queueMax: 3 },
  );
});

const follow = () =>
  hub.follow(() => {
    told++;
  });

test('names are given once, however often they were told', () => {
  const names = follow();
  expect(names.isEmpty).toBe(true);
  hub.changed({ services: ['web'] });
  hub.changed({ services: ['web', 'dns'], objects: [{ kind: 'Guard', name: 'edge' }] });
  expect([told, names.isEmpty]).toEqual([2, false]);
  expect(names.take()).toEqual({ services: ['web', 'dns'], objects: [{ kind: 'Guard', name: 'edge' }] });
  expect([names.take(), names.isEmpty]).toEqual([{ services: [], objects: [] }, true]);
});

test('too many are not kept, and that is said once', () => {
  const names = follow();
  hub.changed({ services: ['a', 'b', 'c', 'd'] });
  expect(names.isEmpty).toBe(false);
  expect(names.take()).toBeUndefined();
  expect(names.take()).toEqual({ services: [], objects: [] });
});

test('a version counts when what is in it was told', () => {
  const names = follow();
  version = 6n;
  expect(names.version).toBe(5n);
  hub.changed({ services: ['web'] });
  expect(names.version).toBe(6n);
});

test('who has closed is told nothing', () => {
  const names = follow();
  names.close();
  hub.changed({ services: ['web'] });
  expect([told, hub.readers]).toEqual([0, 0]);
});
