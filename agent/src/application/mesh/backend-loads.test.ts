// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { parseConfiguration } from '@marcher/model';
import { expect, it } from 'vitest';
import { InMemoryDataplane } from '../../adapters/outbound/dataplane/in-memory.js';
import { SnapshotWriter } from '../../domain/compile.js';
import { packService } from '../service-codec.js';
import { BackendLoads } from './backend-loads.js';

const PAUSE_MS = 2_000;

interface Shape {
  readonly name: string;
  readonly backends: readonly string[];
  readonly cluster?: string;
}

function node(...shapes: readonly Shape[]) {
  const bodies = new Map<string, Uint8Array>();
  const dataplane = new InMemoryDataplane();
  const told: string[] = [];
  const { loadElsewhere } = dataplane;
  dataplane.loadElsewhere = async (services, validMs) => {
    told.push(services.map(({ service, backends }) => `${service}:${backends.length}`).join(' '));
    await loadElsewhere.call(dataplane, services, validMs);
  };
  let version = 0n;
  let nowMs = 0;
  const configure = async (next: readonly Shape[]): Promise<void> => {
    version++;
    bodies.clear();
    const writer = new SnapshotWriter();
    writer.begin(version, 0n, { name: 'n', region: '', country: '', geoipPath: '', draining: false });
    for (const { name, backends, cluster } of next) {
      const text = JSON.stringify({
        apiVersion: 'marcher/v1',
        services: [
          {
            name,
            ...(cluster === undefined ? {} : { cluster }),
            listeners: [{ port: 80 }],
            balance: { algorithm: 'least-connections', loadOf: 'mesh' },
            backends: backends.map((backend) => ({ name: backend, address: '192.0.2.1:80' })),
          },
        ],
      });
      for (const service of parseConfiguration(text).configuration?.services ?? []) {
        bodies.set(name, packService(service));
        writer.service(service, undefined, undefined, false);
      }
    }
    await dataplane.apply(writer.bytes().slice(), { tolerateBindErrors: false });
  };
  const loads = new BackendLoads({
    services: () => new Set(bodies.keys()),
    store: {
      get version() {
        return version;
      },
      get: (name) => {
        const body = bodies.get(name);
        return body && { name, body, generation: version };
      },
    } as ConstructorParameters<typeof BackendLoads>[0]['store'],
    dataplane,
    hash: (bytes) => createHash('sha256').update(bytes).digest(),
    monotonicMs: () => nowMs,
  });
  const ready = configure(shapes);
  return {
    dataplane,
    loads,
    told,
    configure,
    ready,
    /** Whatever time has gone, by then. */
    at: (ms: number) => {
      nowMs = ms;
      return loads;
    },
  };
}

async function known(open: ReturnType<BackendLoads['open']>) {
  const found = await open;
  if (found === undefined) throw new Error('not known yet');
  return found;
}

const WEB: Shape = { name: 'web', backends: ['b1', 'b2'] };

it('says what is open to backends by keys that mean the same at other nodes, once it knows how long it lasts', async () => {
  const [one, other] = [node(WEB), node(WEB, { name: 'api', backends: ['b1'] })];
  await Promise.all([one.ready, other.ready]);
  one.dataplane.connected.set('web/b1', 40);
  one.dataplane.opened.set('web/b1', 1_000);
  expect(await one.at(0).open(PAUSE_MS)).toBeUndefined();
  const said = await known(one.at(500).open(PAUSE_MS));
  expect([...said.values()]).toEqual([40]);
  await other.loads.tell(said);
  expect([...other.dataplane.elsewhere].filter(([, count]) => count > 0)).toEqual([['web/b1', 40]]);
});

it('says less of connections that do not last, by the last pause or two', async () => {
  const { at, dataplane, ready } = node(WEB);
  await ready;
  const looked = async (ms: number, opened: number): Promise<number | undefined> => {
    dataplane.opened.set('web/b1', opened);
    return (await at(ms).open(PAUSE_MS))?.values().next().value;
  };
  dataplane.connected.set('web/b1', 100);
  expect(await looked(0, 0)).toBeUndefined();
  // 100 open, 50 new ones a second: each lasts a pause.
  expect(await looked(2_000, 100)).toBe(10);
  expect(await looked(4_000, 200)).toBe(10);
  expect(await looked(5_000, 200)).toBe(15);
  expect(await looked(5_800, 200)).toBe(19);
  expect(await looked(6_000, 200)).toBe(100);
  // Another engine counts anew: what was known stands.
  expect(await looked(7_000, 50)).toBe(100);
  expect(await looked(8_000, 100)).toBe(10);
});

it('tells the data plane what is new, all of it now and then, and takes back what is not asked for any more', async () => {
  const { at, told, loads, configure, dataplane, ready } = node(WEB, { name: 'api', backends: ['a1'] });
  await ready;
  dataplane.connected.set('web/b2', 7);
  await at(0).open(PAUSE_MS);
  const open = await known(at(500).open(PAUSE_MS));
  await at(1_000).tell(open);
  await at(1_500).tell(open);
  await at(2_000).tell(new Map());
  await at(7_000).tell(new Map());
  expect(told).toEqual(['api:0 web:1', 'web:0', 'api:0 web:0']);
  await at(7_500).tell(open);
  expect(dataplane.elsewhere.get('web/b2')).toBe(7);
  await configure([]);
  await configure([{ name: 'api', backends: ['a1'] }]);
  await at(8_000).tell(open);
  expect(told.slice(3)).toEqual(['web:1', 'web:0']);
  await configure([]);
  expect(loads.isIdle).toBe(false);
  await at(8_500).tell(open);
  expect(loads.isIdle).toBe(true);
});

it('goes on telling what the data plane has not taken', async () => {
  const { at, told, dataplane, ready } = node(WEB);
  await ready;
  dataplane.connected.set('web/b2', 7);
  await at(0).open(PAUSE_MS);
  const open = await known(at(500).open(PAUSE_MS));
  await at(900).tell(new Map());
  const { loadElsewhere } = dataplane;
  dataplane.loadElsewhere = async () => {
    throw new Error('no answer');
  };
  await expect(at(1_000).tell(open)).rejects.toThrow('no answer');
  dataplane.loadElsewhere = loadElsewhere;
  await at(1_001).tell(open);
  expect(told).toEqual(['web:0', 'web:1']);
});

it('takes the first services by name, as many as there is room for, and names the others', async () => {
  const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `b${i}`);
  const many = Array.from({ length: 70 }, (_, i) => ({ name: `s${100 + i}`, backends: ['b'] }));
  const first = node(...many);
  await first.ready;
  expect(first.loads.leftOut).toEqual(['s164', 's165', 's166', 's167', 's168', 's169']);
  const large = node(...Array.from({ length: 20 }, (_, i) => ({ name: `s${10 + i}`, backends: names(256) })));
  await large.ready;
  expect(large.loads.leftOut).toEqual(['s26', 's27', 's28', 's29']);
});

it('is not about a service of the same name in another cluster', async () => {
  const [one, other] = [node({ ...WEB, cluster: 'eu' }), node({ ...WEB, cluster: 'us' })];
  await Promise.all([one.ready, other.ready]);
  one.dataplane.connected.set('web/b1', 40);
  await one.at(0).open(PAUSE_MS);
  await other.loads.tell(await known(one.at(500).open(PAUSE_MS)));
  expect([...other.dataplane.elsewhere.values()]).toEqual([0, 0]);
});
