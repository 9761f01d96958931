// SPDX-License-Identifier: Apache-2.0
/** A director with one link: clients are behind one VLAN of it, backends behind another. XDP and tc are at the link. */
import { execFileSync } from 'node:child_process';
import type { Agent } from '../../harness/agent.js';
import { sleep } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { carry, settleAll } from './carried.js';
import { Ground, PORT } from './ground.js';

const BACKENDS = [1, 2];
/** Not where backends listen: what comes there has been translated. */
const NAT_PORT = 80;

const counted = async (director: Agent): Promise<bigint> => {
  const { services } = await director.node.tiers({ service: '' });
  return services.reduce((sum, { xdpPackets }) => sum + xdpPackets, 0n);
};

const lacksVlans = (): string | undefined => {
  const make = 'ip link add v0 type veth peer name v1 && ip link add link v0 name v0.2 type vlan id 2';
  try {
    execFileSync('unshare', ['--net', 'sh', '-c', make], { stdio: ['ignore', 'ignore', 'pipe'] });
    return undefined;
  } catch {
    return 'the kernel has no VLAN devices (CONFIG_VLAN_8021Q)';
  }
};

export const vlan: readonly Case[] = [
  {
    name: 'VLANs on both sides: TCP and UDP by ipip, gue and nat, over both families',
    lacks: lacksVlans,
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: BACKENDS.length, vlans: true });
      const director = ground.director(1);
      await Promise.all([ground.backends(BACKENDS.length), director.start()]);
      for (const mode of ['ipip', 'gue', 'nat']) {
        const nat = mode === 'nat';
        const options = nat ? { port: NAT_PORT, backendPort: PORT, sourceNat: true } : {};
        await carry(director, ground.services(mode, BACKENDS, options), BACKENDS, nat ? 'tc' : 'xdp');
        const before = await counted(director);
        const loads = await ground.loads(['tcp-short', 'udp'], 200, 4_000, nat ? NAT_PORT : PORT);
        await sleep(800);
        const settled = await settleAll(world, loads, `${mode}: `);
        const packets = (await counted(director)) - before;
        // Of a connection at least its SYN, what acknowledges the answer's, the request and its end.
        const least = settled.reduce((sum, { load, sent }) => sum + sent * (load.settings.kind === 'udp' ? 1 : 4), 0);
        world.check(packets >= least, `${mode}: the director has carried ${packets} packets, of at least ${least}`);
      }
    },
  },
];
