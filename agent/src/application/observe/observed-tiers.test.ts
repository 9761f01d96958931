// SPDX-License-Identifier: Apache-2.0
import { beforeEach, expect, test } from 'vitest';
import { ObservedTiers } from './observed-tiers.js';
import { Slices } from './slices.js';
import { FakeNode } from './testing/fake-node.js';

let node: FakeNode;
let tiers: ObservedTiers;
/** Services that the last look has worked out. */
let asked: string[];

beforeEach(async () => {
  node = new FakeNode();
  node.apply('web', 'dns', 'nat');
  for (const name of ['web', 'dns', 'nat']) node.carry(name, 'relay');
  node.restless.clear();
  node.restless.add('nat');
  const source = {
    ...node.tiers,
    *of(names: Iterable<string>) {
      for (const name of names) {
        asked.push(name);
        yield* node.tiers.of([name]);
      }
    },
  };
  tiers = new ObservedTiers(source, node.configuration);
  await look();
});

async function look(): Promise<void> {
  asked = [];
  await tiers.look(new Slices());
}

test('all are worked out once, then those alone that change by themselves', async () => {
  expect(asked).toEqual(['web', 'dns', 'nat']);
  const { revision } = tiers.table;
  await look();
  expect(asked).toEqual(['nat']);
  expect(tiers.table.revision).toBe(revision);
  expect(tiers.table.size).toBe(3);
});

test('a service that was changed is worked out again, and one that went is gone', async () => {
  const { revision } = tiers.table;
  node.tierList.delete('dns');
  node.remove('dns');
  node.apply('web');
  await look();
  expect(asked).toEqual(['dns', 'web', 'nat']);
  expect([...tiers.table.gone(revision)]).toEqual(['dns']);
});

test('those that name a policy are worked out again when it changes', async () => {
  node.configuration.servicesNaming = (policy) => (policy === 'gold' ? ['dns'] : []);
  node.change({
    objects: [
      { kind: 'TrafficPolicy', name: 'gold' },
      { kind: 'Guard', name: 'edge' },
    ],
  });
  await look();
  expect(asked).toEqual(['dns', 'nat']);
});

test('all are when the node offers something else', async () => {
  node.basis = 'native XDP';
  await look();
  expect(asked).toEqual(['web', 'dns', 'nat']);
});

test('all are after a look that failed', async () => {
  node.apply('web');
  const { of } = node.tiers;
  node.tiers.of = () => {
    throw new Error('broken');
  };
  await expect(look()).rejects.toThrow('broken');
  node.tiers.of = of;
  await look();
  expect(asked).toEqual(['web', 'dns', 'nat']);
});
