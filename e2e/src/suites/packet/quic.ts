// SPDX-License-Identifier: Apache-2.0
/** Connection IDs that name a backend, as QUIC clients that move have them. */
import path from 'node:path';
import type { Datagrams } from '../../harness/datagrams-main.js';
import { VIP4 } from '../../harness/routed.js';
import type { Case, World } from '../../harness/suite.js';
import { carried, HEALTHY } from './carried.js';
import { Ground, PORT } from './ground.js';

const MAIN = path.join(import.meta.dirname, '../../harness/datagrams-main.js');
const TIMES = 12;

/** A packet with a short header, from a client whose connection ID has this server ID. */
const short = (serverId: string): string =>
  `4000${serverId}${Buffer.from('nonce, and what is encrypted').toString('hex')}`;

export const quic: readonly Case[] = [
  {
    name: 'a client that has a connection ID of a backend stays with it, whichever port it comes from',
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 3, oneLink: true });
      const [director] = await Promise.all([carried(ground, 'l2', [1, 2, 3]), ground.backends(3, false)]);
      const ids = ['6161', '6162', '6163'];
      const services = ground.services('l2', [1, 2, 3]).map((service) => ({
        ...service,
        udp: { quic: {} },
        backends: (service['backends'] as object[]).map((backend, i) => ({ ...backend, quicServerId: ids[i] })),
      }));
      await director.apply(services);
      await director.backendsAre('web4', HEALTHY, ['b1', 'b2', 'b3']);
      /** How many answers each backend gave. */
      const answered = async (payloads: string[]): Promise<Map<string, number>> => {
        const settings: Datagrams = { host: VIP4, port: PORT, payloads, timeoutMs: 2_000 };
        const { netns } = ground.net.client;
        const answers = JSON.parse(
          await world.scope.must([process.execPath, MAIN, JSON.stringify(settings)], { netns }),
        ) as string[];
        const counts = new Map<string, number>();
        for (const answer of answers) {
          const name = answer.split(' ')[1] ?? '';
          counts.set(name, (counts.get(name) ?? 0) + 1);
        }
        return counts;
      };
      for (const [i, id] of ids.entries()) {
        const counts = await answered(Array(TIMES).fill(short(id)) as string[]);
        world.equal(counts.get(`b${i + 1}`), TIMES, `answers of b${i + 1} to its own connection IDs`);
      }
      const spread = await answered(Array(4 * TIMES).fill(short('7a7a')) as string[]);
      world.check(spread.size > 1 && !spread.has(''), `an ID of nobody goes to: ${JSON.stringify([...spread])}`);
    },
  },
];
