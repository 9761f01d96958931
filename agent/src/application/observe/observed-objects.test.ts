// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { ObservedObjects } from './observed-objects.js';
import { Slices } from './slices.js';
import { FakeNode } from './testing/fake-node.js';

let node: FakeNode;
let objects: ObservedObjects;

beforeEach(async () => {
  node = new FakeNode();
  node.apply('web', 'dns');
  objects = new ObservedObjects(
    node.configuration,
    (bytes) => hash('sha256', bytes, 'buffer'),
    () => undefined,
  );
  await look();
});

async function look(): Promise<number> {
  const before = node.looks.declared;
  await objects.look(new Slices());
  return node.looks.declared - before;
}

test('only what has changed is looked at', async () => {
  expect(await look()).toBe(0);
  node.apply('web');
  expect(objects.isBehind).toBe(true);
  expect(await look()).toBe(1);
  expect([objects.isBehind, objects.version]).toEqual([false, 2n]);
});

test('in doubt everything is, and a doubt that comes meanwhile stays', async () => {
  objects.doubt();
  const { declared } = node.configuration;
  node.configuration.declared = (kind, name) => {
    objects.doubt();
    return declared(kind, name);
  };
  expect(await look()).toBe(2);
  node.configuration.declared = declared;
  expect(objects.isBehind).toBe(true);
  expect(await look()).toBe(2);
  expect(await look()).toBe(0);
});

test('looking at everything again finds what went without a word', async () => {
  const { revision } = objects.table;
  node.services.delete('dns');
  objects.doubt();
  await look();
  expect([...objects.table.gone(revision)]).toEqual(['Service/dns']);
});
