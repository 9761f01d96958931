// SPDX-License-Identifier: Apache-2.0
/** Floods from forged sources at full rate, beside clients who want to be served: by the relay, and by XDP. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Agent } from '../../harness/agent.js';
import { Flooder, type FloodSettings } from '../../harness/flood.js';
import { VIP4 } from '../../harness/routed.js';
import { sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';
import { Ground, PORT } from './ground.js';

const HEALTHY = 2;
const RELAYED_PORT = 8090;
const FLOOD_SECONDS = 2.5;
/** Forged sources: many prefixes of which each is one source, none of them the client's. */
const SOURCES = '203.0.0.0/16';
const SUCCESS_MIN = 0.999;

const guard = {
  name: 'edge',
  rules: [
    { action: 'allow', sources: ['10.77.0.0/24', '10.78.0.0/15'], unlimited: true },
    { action: 'deny', sources: ['203.0.200.0/22'] },
  ],
  sourceLimits: { packetsPerSecond: 20, burst: '100ms' },
  synCookies: { mode: 'auto', onPerSecond: 2_000, offPerSecond: 1_000 },
};
/** SYNs are proven by cookies alone. */
const withoutLimits = { ...guard, sourceLimits: undefined };

interface Flood extends Omit<FloodSettings, 'cpu' | 'seconds' | 'sources'> {
  readonly guard: object;
  /** Of what was sent at least this share is accounted for by these reasons. */
  readonly reasons: readonly string[];
  readonly share: number;
}

const floods = ({ v4 }: Host): readonly Flood[] => [
  { kind: 'syn', guard: withoutLimits, destination: v4, port: RELAYED_PORT, reasons: ['guard-rule'], share: 0.01 },
  { kind: 'udp', guard, destination: VIP4, port: PORT, reasons: ['limit-packets', 'guard-rule'], share: 0.9 },
  {
    kind: 'fragment',
    guard,
    destination: v4,
    port: RELAYED_PORT,
    reasons: ['fragment-tiny', 'fragment-overlap', 'limit-packets', 'guard-rule'],
    share: 0.9,
  },
];

const dropped = async (director: Agent): Promise<ReadonlyMap<string, bigint>> => {
  const { xdpDrops } = await director.node.status({ withTraffic: true });
  return new Map(xdpDrops.map(({ reason, packets }) => [reason, packets]));
};

const setGuard = async (world: World, director: Agent, file: object): Promise<void> => {
  const at = path.join(world.scope.dir, 'guard.json');
  writeFileSync(at, JSON.stringify({ apiVersion: 'marcher/v1', guards: [file] }));
  const { code, stderr } = await director.marcher('apply', '-f', at);
  world.equal(code, 0, `marcher apply: ${stderr}`);
};

/** A director that relays one service and has XDP carry another one, guarded on the link of the flood, too. */
const makeDirector = async (ground: Ground, host: Host): Promise<Agent> => {
  const director = ground.director(1, 'up0,flood0');
  execFileSync('nsenter', [
    ...[`--net=/run/netns/${host.netns}`, '--', 'sysctl', '-qw', 'net.ipv4.tcp_syncookies=2'],
    ...['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.flood0.rp_filter=0'],
  ]);
  await director.start();
  const [carried] = ground.services('ipip', [1]);
  const backend = ground.net.backends[0] as Host;
  await director.apply([
    carried as { name: string },
    {
      name: 'relayed',
      listeners: [{ protocol: 'tcp', port: RELAYED_PORT, address: host.v4 }],
      backends: [{ name: 'b1', address: `${backend.v4}:${PORT}` }],
    },
  ]);
  await director.backendsAre('web4', HEALTHY, ['b1']);
  await until('XDP to carry the service', async () => {
    const { services } = await director.node.tiers({ service: 'web4' });
    return services[0]?.tier === 'xdp';
  });
  return director;
};

export const guards: readonly Case[] = [
  {
    name: 'SYN, UDP and fragment floods from forged sources: clients are served',
    alone: true,
    run: async (world: World) => {
      const ground = new Ground(world, { directors: 1, backends: 1 });
      const host = ground.net.directors[0] as Host;
      const flooder = new Flooder(world.scope, host);
      await ground.backends(1);
      const director = await makeDirector(ground, host);
      for (const flood of floods(host)) {
        await setGuard(world, director, flood.guard);
        const before = await dropped(director);
        const common = { rate: 100, connections: 20, timeoutMs: 3_000 };
        const loads = await Promise.all([
          ground.load({
            name: `${flood.kind}: relayed`,
            kind: 'tcp-short',
            host: host.v4,
            ...common,
            port: RELAYED_PORT,
          }),
          ground.load({ name: `${flood.kind}: by XDP`, kind: 'tcp-short', host: VIP4, ...common }),
        ]);
        await sleep(300);
        const flooded = await flooder.run({ ...flood, sources: SOURCES, cpu: 0, seconds: FLOOD_SECONDS });
        await sleep(100);
        for (const load of loads) {
          const { answered, failed } = await world.settle(load);
          world.check(answered > 150, `${load.settings.name}: only ${answered} answered`);
          const share = answered / (answered + failed);
          world.check(share >= SUCCESS_MIN, `${load.settings.name}: ${failed} of ${answered + failed} failed`);
        }
        const after = await dropped(director);
        const of = (reason: string): number => Number((after.get(reason) ?? 0n) - (before.get(reason) ?? 0n));
        const counted = flood.reasons.reduce((sum, reason) => sum + of(reason), 0);
        const reasons = Object.fromEntries([...after.keys()].flatMap((key) => (of(key) > 0 ? [[key, of(key)]] : [])));
        const { sent: frames, returned, seconds } = flooded;
        world.note(`${flood.kind} flood`, { frames, returned, perSecond: Math.round(frames / seconds), reasons });
        world.check(flooded.sent > 20_000, `${flood.kind}: only ${flooded.sent} frames were sent`);
        world.check(
          counted >= flooded.sent * flood.share,
          `${flood.kind}: ${counted} of ${flooded.sent} frames are counted as ${flood.reasons.join(', ')}`,
        );
        if (flood.kind === 'syn') {
          world.check(flooded.returned > 10_000, `only ${flooded.returned} SYNs of ${flooded.sent} were answered`);
          const { stdout } = await director.marcher('status');
          world.check(stdout.includes('SYN cookies by XDP'), `marcher status says: ${stdout}`);
          const { stdout: list } = await director.marcher('guard', 'list');
          const [, packets = '0'] = /^203\.0\.200\.0\/22 .* (\d+)$/m.exec(list) ?? [];
          world.check(Number(packets) >= of('guard-rule'), `marcher guard list says: ${list}`);
        }
      }
    },
  },
];
