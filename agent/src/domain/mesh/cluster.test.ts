// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { EXISTENCE } from '../replication/object.js';
import { assignment, clusterCreation, unassignment, unpackCluster } from './cluster.js';

const ID = '8a3f0c61d2e95b74';
const by = { assignedMs: 7, assignedBy: 'ada', begins: true };

function valuesOf(writes: readonly { readonly group: string; readonly value: Uint8Array | undefined }[]) {
  const values = new Map<string, Uint8Array>();
  for (const { group, value } of writes) {
    if (value === undefined) values.delete(group);
    else values.set(group, value);
  }
  return values;
}

test('a cluster is what was written of it', () => {
  const writes = [...clusterCreation('eu', 5, 'root (uid 0)'), assignment('eu', ID, by)];
  const values = valuesOf(writes);
  expect(values.has(EXISTENCE)).toBe(true);
  expect(unpackCluster('eu', values)).toEqual({
    name: 'eu',
    createdMs: 5,
    createdBy: 'root (uid 0)',
    nodes: new Map([[ID, by]]),
  });
  expect(unpackCluster('eu', valuesOf([...writes, unassignment('eu', ID)]))?.nodes.size).toBe(0);
});

test('whatever is written, something is read of it, and nothing that can not be', () => {
  const odd = new Map([
    ['1', new Uint8Array([255])],
    [`node/${ID}`, new Uint8Array([255])],
    ['node/0', new Uint8Array(0)],
    ['node/', new Uint8Array(0)],
    ['2', new Uint8Array(0)],
  ]);
  const nodes = new Map([[ID, { assignedMs: 0, assignedBy: '', begins: false }]]);
  expect(unpackCluster('eu', odd)).toEqual({ name: 'eu', createdMs: 0, createdBy: '', nodes });
  for (const name of ['', 'E', 'a b', 'a@b', 'x'.repeat(64)]) expect(unpackCluster(name, odd)).toBeUndefined();
});
