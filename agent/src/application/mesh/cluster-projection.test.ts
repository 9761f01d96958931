// SPDX-License-Identifier: Apache-2.0
/** What a node in several clusters makes of what is in them: the same as every other node in the same ones. */
import { createHash } from 'node:crypto';
import { objectsOf, parseConfiguration } from '@marcher/model';
import { expect, test } from 'vitest';
import type { ClusterName } from '../../domain/replication/contract.js';
import { decodeFrame, encodeFrame } from '../../domain/replication/frame.js';
import { Ledger } from '../../domain/replication/ledger.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import type { CommitChange } from '../../ports/config-store.js';
import { MemoryConfigStore } from '../../simulation/memory-config-store.js';
import { packObject } from '../object-codec.js';
import { packService } from '../service-codec.js';
import { Projection } from './projection.js';
import { writesByCluster, writesOf } from './writes.js';

const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

function created(document: object): CommitChange[] {
  const { configuration } = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', ...document }));
  if (configuration === undefined) throw new Error('not a configuration');
  const services = configuration.services.map((service): CommitChange => {
    return { kind: 'Service', name: service.name, before: undefined, after: packService(service) };
  });
  return [...services, ...objectsOf(configuration).map((object) => ({ ...packObject(object), before: undefined }))];
}

const service = (name: string, port: number, cluster?: string, more: object = {}): object => ({
  ...{ name, listeners: [{ protocol: 'tcp', port }], ...more },
  ...(cluster === undefined ? {} : { cluster }),
});

class Mesh {
  readonly #logs = new Map<
    ClusterName,
    { store: MemoryStore; ledger: Ledger; sequence: number; previous: Uint8Array }
  >();
  #ms = 1_000;

  /** In a replica; as a node that has gone wrong would, also in one that it says nothing of. */
  write(cluster: ClusterName, changes: readonly CommitChange[]): void {
    let log = this.#logs.get(cluster);
    if (log === undefined) {
      const store = new MemoryStore();
      const ledger = new Ledger({ store, node: 9n, hash, wallMs: () => 10_000, aheadMaxMs: 5_000 });
      log = { store, ledger, sequence: 0, previous: new Uint8Array(0) };
      this.#logs.set(cluster, log);
    }
    const stamp = { ms: this.#ms++, counter: 0, node: 1n };
    const { previous } = log;
    const frame = encodeFrame(
      {
        ...{ origin: { node: 1n, incarnation: 1 }, sequence: ++log.sequence, cluster, stamp, previous },
        ...{ author: '', message: '', writes: writesOf(changes) },
      },
      hash,
      () => new Uint8Array(1),
    );
    const read = 'fault' in frame ? frame : decodeFrame(frame.bytes, hash);
    if ('fault' in read) throw new Error(read.fault);
    log.previous = read.hash;
    log.ledger.apply([read]);
  }

  /** Of a node that came into these clusters in this order. */
  node(...clusters: readonly ClusterName[]) {
    const cells = new Map(clusters.map((cluster) => [cluster, this.#logs.get(cluster)?.store ?? new MemoryStore()]));
    const store = new MemoryConfigStore();
    const projection = new Projection(cells, store);
    const revision = { timeMs: 0, author: '', origin: 'mesh', message: '' };
    const follow = (): void => void store.follow(revision, projection.whole());
    follow();
    return { cells, store, projection, follow };
  }
}

test('nodes in the same clusters have the same, in whatever order they came in; of one name the older is in force', () => {
  const mesh = new Mesh();
  mesh.write('', created({ services: [service('all', 80)] }));
  mesh.write('us', created({ services: [service('web', 81, 'us'), service('only-us', 82, 'us')] }));
  mesh.write('eu', created({ services: [service('web', 83, 'eu'), service('taken', 82, 'eu')] }));
  const [one, other] = [mesh.node('', 'eu', 'us'), mesh.node('us', 'eu', '')];
  expect([...one.store.names()]).toEqual(['all', 'only-us', 'web']);
  for (const name of one.store.names()) expect(other.store.get(name)?.body).toEqual(one.store.get(name)?.body);
  expect(other.projection.exclusions).toEqual(one.projection.exclusions);
  expect(one.projection.exclusions).toMatchObject([
    { name: 'web', cluster: 'eu', reason: 'Conflicted', message: expect.stringContaining('in cluster "us"') },
    { name: 'taken', cluster: 'eu', reason: 'Conflicted', message: expect.stringContaining('tcp port 82') },
  ]);
  // Who is in one of them alone has its own, whole.
  const eu = mesh.node('', 'eu');
  expect([[...eu.store.names()], eu.projection.exclusions]).toEqual([['all', 'taken', 'web'], []]);
  expect([...mesh.node('').store.names()]).toEqual(['all']);
});

test('what was hidden by its name comes into force when the other has gone', () => {
  const mesh = new Mesh();
  const [first] = created({ services: [service('web', 81, 'us')] });
  mesh.write('us', [first as CommitChange]);
  mesh.write('eu', created({ services: [service('web', 83, 'eu')] }));
  const node = mesh.node('', 'eu', 'us');
  for (const projection of [node.projection, new Projection(node.cells, node.store)]) {
    expect(projection.partly([{ kind: 'Service', id: 'web' }])).toBeUndefined();
  }
  mesh.write('us', [{ kind: 'Service', name: 'web', before: first?.after, after: undefined }]);
  node.follow();
  expect(node.projection.exclusions).toEqual([]);
  expect(node.store.get('web')?.body).toEqual(mesh.node('eu').store.get('web')?.body);
});

test('an object that says another cluster than the one that it is in is served nowhere', () => {
  const mesh = new Mesh();
  mesh.write('', created({ services: [service('web', 81, 'eu')] }));
  mesh.write('us', created({ services: [service('api', 82, 'eu')], guards: [{ name: 'g' }] }));
  const { store, projection } = mesh.node('', 'eu', 'us');
  expect([...store.names(), ...store.objects()]).toEqual([]);
  expect(
    projection.exclusions.map(({ kind, name, reason, message }) => `${kind} ${name} ${reason}: ${message}`),
  ).toEqual([
    expect.stringMatching(/^Service web Invalid: it is in no cluster, and says that it is in cluster "eu"/),
    expect.stringMatching(/^(?:Service api|Guard g) Invalid: it is in cluster "us"/),
    expect.stringMatching(/^(?:Service api|Guard g) Invalid: it is in cluster "us"/),
  ]);
});

test('an object that changes its cluster is deleted in one and created whole in the other', () => {
  const [before] = created({ services: [service('web', 81, 'eu', { labels: { a: 'b' } })] });
  const [after] = created({ services: [service('web', 81, undefined, { labels: { a: 'b' } })] });
  const parts = writesByCluster([{ kind: 'Service', name: 'web', before: before?.after, after: after?.after }]);
  expect([...parts.keys()].sort()).toEqual(['', 'eu']);
  expect(parts.get('eu')).toEqual([{ kind: 'Service', id: 'web', group: '', value: undefined }]);
  expect(parts.get('')).toEqual(writesOf([after as CommitChange]));
});
