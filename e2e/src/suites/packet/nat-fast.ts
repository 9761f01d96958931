// SPDX-License-Identifier: Apache-2.0
/**
 * NAT whose open flows XDP carries. Here senders complete their checksums, as frames from a wire have them, and both ends
 * of each link take what XDP sends: on a veth that is GRO at the other end. What lacks either is tc's to carry.
 */
import { release } from 'node:os';
import type { Agent } from '../../harness/agent.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { settleAll } from './carried.js';
import { inside, NatGround } from './nat.js';

const complete = ({ netns }: Host): void => {
  inside(netns, 'ethtool', '-K', 'up0', 'tx', 'off', 'tso', 'off', 'gso', 'off');
};
const receive = ({ netns }: Host): void => inside(netns, 'ethtool', '-K', 'up0', 'gro', 'on');

const lacksFeatures = (): string | undefined => {
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 3) ? undefined : 'before Linux 6.3 no veth says that it sends for XDP';
};

/** What carries open flows on each interface. */
const carriers = async (director: Agent): Promise<string> => {
  const { xdpInterfaces } = await director.node.status({});
  return xdpInterfaces.map(({ name, nat }) => `${name} ${nat}`).join(', ');
};

const carried = async (director: Agent): Promise<{ xdp: bigint; tc: bigint }> => {
  const { traffic } = await director.node.status({ withTraffic: true });
  const of = (name: string): bigint => traffic.find(({ tier }) => tier === name)?.packets ?? 0n;
  return { xdp: of('xdp'), tc: of('tc') };
};

const byXdp = (sourceNat: boolean): Case => ({
  name: `nat ${sourceNat ? 'with' : 'without'} sourceNat, fast path: XDP carries open flows of TCP and UDP, also without the agent`,
  lacks: lacksFeatures,
  run: async (world: World) => {
    const ground = new NatGround(world);
    const { backends, client } = world.net;
    for (const host of [client, ...backends]) {
      complete(host);
      receive(host);
    }
    const [director] = await Promise.all([ground.director(), ground.backends(2)]);
    await ground.carry(director, backends.slice(0, 2), sourceNat);
    await until('XDP to carry on all interfaces', async () =>
      (await carriers(director)).split(', ').every((one) => one.endsWith(' xdp')),
    );
    const { services } = await director.node.tiers({ service: 'echo-v4' });
    world.check(
      services[0]?.reasons.some((reason) => reason.startsWith('flows that are open are carried by XDP on front')) ===
        true,
      `explained as: ${services[0]?.reasons.join('; ')}`,
    );
    const before = await carried(director);
    const loads = await ground.loads(['tcp-keepalive', 'udp'], 200);
    await ground.upload(2_000_000);
    await sleep(700);
    const seen = await ground.clientSeen();
    world.equal(seen, sourceNat ? 'the director' : 'the client', 'whom the backend sees');
    const during = await carried(director);
    director.kill();
    await director.exited();
    await sleep(500);
    await director.start();
    await sleep(300);
    await settleAll(world, loads);
    const after = await carried(director);
    const xdp = after.xdp - before.xdp;
    const tc = after.tc - before.tc;
    world.check(during.xdp > before.xdp && after.xdp > during.xdp, `XDP has carried ${xdp} packets`);
    // Beginnings of flows: health checks are none of the services', and each UDP flow has two packets before it is open.
    world.check(xdp > 4n * tc, `of ${xdp + tc} packets XDP has carried ${xdp}`);
  },
});

export const natFast: readonly Case[] = [
  byXdp(true),
  byXdp(false),
  {
    name: 'nat, fast path on some interfaces: flows by others are carried by tc, and move to XDP while they are open',
    lacks: lacksFeatures,
    run: async (world: World) => {
      const ground = new NatGround(world);
      const { backends, client } = world.net;
      const [first, second] = backends;
      if (first === undefined || second === undefined) throw new Error('the ground has no two backends');
      for (const host of [client, first, second]) complete(host);
      for (const host of [client, first]) receive(host);
      const director = await ground.director([], ['front', 'back1', 'back2']);
      await ground.backends(2);
      await ground.carry(director, [first, second], true);
      await until('XDP to carry where it can', async () => {
        return (await carriers(director)) === 'front xdp, back1 xdp, back2 tc';
      });
      const before = await carried(director);
      const loads = await ground.loads(['tcp-keepalive', 'tcp-short', 'udp'], 150);
      await sleep(800);
      const mixed = await carried(director);
      const share = (part: { xdp: bigint; tc: bigint }, from: { xdp: bigint; tc: bigint }): number =>
        Number(part.xdp - from.xdp) / Number(part.xdp - from.xdp + part.tc - from.tc);
      receive(second);
      await until('XDP to carry on all', async () => (await carriers(director)).split(' tc').length === 1);
      const moved = await carried(director);
      await sleep(800);
      const late = share(await carried(director), moved);
      const early = share(mixed, before);
      await settleAll(world, loads);
      world.check(early > 0.1 && early < 0.75, `XDP's share with one of two backends behind tc: ${early}`);
      world.check(late > early + 0.1, `XDP's share: ${early}, and ${late} when both are behind XDP`);
    },
  },
];
