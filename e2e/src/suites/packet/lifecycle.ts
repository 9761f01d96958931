// SPDX-License-Identifier: Apache-2.0
/**
 * Programs and maps of another build, exchanged while packets pass. The other build is made out of this one: by forgetting
 * what the pinned programs were built from, and by giving the pins the number of a newer layout.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import type { Agent } from '../../harness/agent.js';
import { VIP4, VIP6 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { carried, HEALTHY, SERVICES, settleAll } from './carried.js';
import { endlessUpload } from './clients.js';
import { Ground, HTTP_PORT, PORT } from './ground.js';

/** The folder of the layout, such as v2. */
const layoutOf = (pins: string): string => {
  const versions = readdirSync(pins).filter((name) => /^v[0-9]+$/.test(name));
  if (versions.length !== 1) throw new Error(`expected one layout in ${pins}: ${versions.join(', ')}`);
  return versions[0] as string;
};

const bpftool = (...args: string[]): string =>
  execFileSync('bpftool', args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
  });

const programs = (folder: string): string[] =>
  readdirSync(path.join(folder, 'programs')).map((name) => {
    const { id } = JSON.parse(bpftool('-j', 'prog', 'show', 'pinned', path.join(folder, 'programs', name))) as {
      id: number;
    };
    return `${name} ${id}`;
  });

const NAT_PORT = 80;
const NAT_HTTP_PORT = 81;
const NAT_SERVICES = ['nat4', 'nat6'];

/** Beside what XDP carries: the same backends by tc, under this node's address. */
const carryNatToo = async (ground: Ground, director: Agent): Promise<void> => {
  const nat = (name: string, vip: string, port: number, backendPort: number) =>
    ground.service(name, vip, 'nat', [1, 2], { port, backendPort, sourceNat: true });
  await director.apply([
    ...ground.services('l2', [1, 2]),
    nat('nat4', VIP4, NAT_PORT, PORT),
    nat('nat6', VIP6, NAT_PORT, PORT),
    nat('upload', VIP4, NAT_HTTP_PORT, HTTP_PORT),
  ]);
  for (const name of [...NAT_SERVICES, 'upload']) await director.backendsAre(name, HEALTHY, ['b1', 'b2']);
  await until('tc to carry the services', async () => {
    const { services } = await director.node.tiers({ service: '' });
    return services.filter(({ tier }) => tier === 'tc').length === 3;
  });
};

/** Another build's programs: the next agent loads its own and exchanges them. */
const forgetBuilds = (folder: string): void => {
  const records = path.join(folder, 'maps/build_records');
  for (const name of readdirSync(path.join(folder, 'programs'))) {
    const key = Array.from({ length: 32 }, (_, i) => String(name.charCodeAt(i) || 0));
    bpftool('map', 'delete', 'pinned', records, 'key', ...key);
  }
};

export const lifecycle: readonly Case[] = [
  {
    name: 'programs of another build, then maps of another layout, are taken over under traffic: nothing is lost',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 2, oneLink: true });
      const [director] = await Promise.all([carried(ground, 'l2', [1, 2]), ground.backends(2, false)]);
      const pins = ground.pins('d1');
      const layout = layoutOf(pins);
      const folder = path.join(pins, layout);
      await carryNatToo(ground, director);
      const kinds = ['tcp-short', 'tcp-keepalive', 'udp'] as const;
      const loads = [...(await ground.loads(kinds, 100)), ...(await ground.loads(kinds, 30, 0, NAT_PORT))];
      const uploaded = endlessUpload(world, ground.net.client, VIP4, NAT_HTTP_PORT);
      await sleep(500);
      director.kill();
      await director.exited();
      const before = programs(folder);
      forgetBuilds(folder);
      await director.start();
      await until('the programs to be exchanged', async () => programs(folder).every((now) => !before.includes(now)));

      // Only the tables of flows lead to the drained one from now on.
      for (const service of [...SERVICES, ...NAT_SERVICES])
        world.equal((await director.marcher('drain', service, 'b1')).code, 0, 'drain');
      const counted = async (): Promise<bigint> => {
        const { services } = await director.node.tiers({ service: '' });
        return services.reduce((sum, { xdpPackets }) => sum + xdpPackets, 0n);
      };
      const carriedSoFar = await counted();
      director.kill();
      await director.exited();
      const newer = `v${Number(layout.slice(1)) + 1}`;
      renameSync(folder, path.join(pins, newer));
      await director.start();
      await until('the pins to be of this layout', async () => !existsSync(path.join(pins, newer)));
      world.equal(layoutOf(pins), layout, 'the layout');
      world.check((await counted()) > carriedSoFar, 'the counters began anew');
      await sleep(300);
      await uploaded();
      await settleAll(world, loads);
      const now = programs(folder);
      world.check(
        now.every((program) => !before.includes(program)),
        'the programs are those of before',
      );
    },
  },
];
