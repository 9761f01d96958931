// SPDX-License-Identifier: Apache-2.0
/**
 * npm run bench -- mesh: 20 agents, each in a network namespace. How long a change takes until the last of them has
 * programmed it; a burst; a partition with conflicting edits; a node that was off; all restarted one after another; half
 * of them killed. Requests go through several nodes all the time, and none may fail.
 */
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { printTable } from '@marcher/e2e/demo/table';
import { type Load, percentile } from '@marcher/e2e/harness/load';
import { now, REPOSITORY, Scope, until } from '@marcher/e2e/harness/scope';
import { World } from '@marcher/e2e/harness/suite';
import { MeshGround, type MeshNode } from '@marcher/e2e/suites/mesh/ground';
import { parseConfiguration, type Service } from '@marcher/model';
import { machine, memory } from './measure.js';
import { writeResult } from './result.js';

const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const LOGS = path.join(REPOSITORY, '.cache/bench-logs');
const GOALS = { changeP99Ms: 100, catchUpMs: 2_000 } as const;
const WARMING = 200;
const CHANGES = 500;
const BURST = { perSecond: 1_000, seconds: 10 } as const;
/** Below what an agent takes before it refuses (api-server.ts). */
const AT_ONCE = 4;
const MISSED = 10_000;
const PARTITION_MS = 60_000;
const LOADED = 4;

interface Seen {
  readonly resolve: () => void;
  readonly waiting: Set<number>;
}

/** What each node's watchers are told: once its data plane has a change. */
class Watchers {
  readonly #waiting = new Map<string, Seen>();
  readonly #stop = new AbortController();

  async open(nodes: readonly MeshNode[]): Promise<void> {
    await Promise.all(nodes.map((node) => this.#watch(node)));
  }

  /** Resolves when all of these nodes have the service with that mark. */
  programmed(mark: string, nodes: readonly MeshNode[]): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.set(mark, { resolve, waiting: new Set(nodes.map(({ number }) => number)) });
    });
  }

  close(): void {
    this.#stop.abort();
  }

  #watch({ agent, number }: MeshNode): Promise<void> {
    return new Promise((synced, failed) => {
      const read = async (): Promise<void> => {
        for await (const { event } of agent.config.watch({}, { signal: this.#stop.signal })) {
          if (event.case === 'synced') synced();
          if (event.case !== 'upsert') continue;
          const mark = event.value.service?.labels['mark'] ?? '';
          const seen = this.#waiting.get(mark);
          if (seen === undefined) continue;
          seen.waiting.delete(number);
          if (seen.waiting.size > 0) continue;
          this.#waiting.delete(mark);
          seen.resolve();
        }
      };
      read().catch((error: unknown) => {
        if (!this.#stop.signal.aborted) failed(error);
      });
    });
  }
}

const serviceOf = (name: string, port: number, mark: string): Service => {
  const service = {
    name,
    listeners: [{ protocol: 'tcp', port }],
    backends: [{ name: 'b1', address: '10.77.0.1:8080' }],
  };
  const text = JSON.stringify({ apiVersion: 'marcher/v1', services: [{ ...service, labels: { mark } }] });
  const [parsed] = parseConfiguration(text).configuration?.services ?? [];
  if (parsed === undefined) throw new Error('the service of the benchmark is refused');
  return parsed;
};

const apply = ({ agent }: MeshNode, ...services: readonly Service[]): Promise<unknown> =>
  agent.config.apply({ change: { upsert: [...services] }, omitDiff: true });

const hashes = async (ground: MeshGround, nodes: readonly MeshNode[]): Promise<Set<string>> =>
  new Set(await Promise.all(nodes.map(async (node) => (await ground.status(node)).configHash)));

/** Until they have one configuration, of so many services. */
const oneOf = (ground: MeshGround, nodes: readonly MeshNode[], services: number, timeoutMs: number): Promise<true> =>
  until(
    `${nodes.length} nodes to have one configuration of ${services} services`,
    async () => {
      const totals = await Promise.all(
        nodes.map(async ({ agent }) => Number((await agent.config.list({ pageSize: 1 })).total)),
      );
      if (totals.some((total) => total !== services)) throw new Error(`they have ${[...new Set(totals)].join(', ')}`);
      const { size } = await hashes(ground, nodes);
      if (size !== 1) throw new Error(`they have ${size} configurations`);
      return true;
    },
    timeoutMs,
    50,
  );

export const mesh = async (count: number): Promise<boolean> => {
  const scope = new Scope(LOGS);
  const watchers = new Watchers();
  try {
    const world = new World(scope, path.join(BUILD, 'marcher-engine'));
    const flags = (number: number): string[] => {
      return ['--workers', '1', '--cpus', String(number % 2), '--library', path.join(BUILD, 'control/libmarcher.so')];
    };
    const ground = new MeshGround(world, count, flags);
    const { nodes } = ground;
    const any = (i: number): MeshNode => nodes[(i * 7) % count] as MeshNode;
    const figures: Record<string, number> = {};
    const rows: string[][] = [];
    const note = (what: string, ms: number, goal?: number): void => {
      figures[what] = Math.round(ms * 10) / 10;
      const verdict = goal === undefined ? '' : ms <= goal ? 'pass' : 'SHORT';
      rows.push([what, ms.toFixed(1), goal === undefined ? '' : `<= ${goal}`, verdict]);
      console.log(`  ${what}: ${ms.toFixed(1)} ms`);
    };
    const timed = async (what: string, work: () => Promise<unknown>, goal?: number): Promise<number> => {
      const begin = now();
      await work();
      const ms = now() - begin;
      note(what, ms, goal);
      return ms;
    };
    console.log(`${count} agents`);
    await timed('started and joined', () => ground.start());
    await apply(nodes[0] as MeshNode, serviceOf('web', 8001, 'web'));
    await ground.agreed(['web'], nodes, 60_000);
    const loads: Load[] = await Promise.all(nodes.slice(0, LOADED).map((node) => ground.load(node, 8001, 20)));
    const pids = nodes.map(({ agent }) => agent.pid);
    const idle = memory(pids).pssBytes / count;

    await watchers.open(nodes);
    const latencies = async (changes: number, name: string): Promise<number[]> => {
      const found: number[] = [];
      for (let i = 0; i < changes; i++) {
        const mark = `${name}-${i}`;
        const done = watchers.programmed(mark, nodes);
        const begin = now();
        await apply(any(i), serviceOf(`changed-${i % 50}`, 9_000 + (i % 50), mark));
        await done;
        found.push(now() - begin);
        await wait(20);
      }
      return found.sort((a, b) => a - b);
    };
    // V8 has not compiled yet what agents that have just started run; they run for months.
    const cold = await latencies(WARMING, 'first');
    note(`the first ${WARMING} changes after the start programmed at all, p50`, percentile(cold, 0.5));
    note(`the first ${WARMING} changes after the start programmed at all, p99`, percentile(cold, 0.99));
    const warm = await latencies(CHANGES, 'change');
    note(`${CHANGES} changes programmed at all, p50`, percentile(warm, 0.5));
    const p99 = percentile(warm, 0.99);
    note(`${CHANGES} changes programmed at all, p99`, p99, GOALS.changeP99Ms);
    watchers.close();
    const changed = Math.min(50, CHANGES);

    // They come at the rate whatever becomes of those before; an agent takes so many at a time, and the rest waits here.
    const send = async (to: readonly MeshNode[], total: number, mark: string, perSecond: number): Promise<void> => {
      const began = now();
      let next = 0;
      const one = async (node: MeshNode): Promise<void> => {
        for (let i = next++; i < total; i = next++) {
          const due = began + (i / perSecond) * 1_000;
          if (due > now()) await wait(due - now());
          await apply(node, serviceOf(`burst-${i % 1_000}`, 10_000 + (i % 1_000), `${mark}-${i}`));
        }
      };
      await Promise.all(to.flatMap((node) => Array.from({ length: AT_ONCE }, () => one(node))));
    };
    const begin = now();
    await send(nodes, BURST.perSecond * BURST.seconds, 'burst', BURST.perSecond);
    note('burst: the last of 10,000 changes confirmed after', now() - begin);
    await oneOf(ground, nodes, 1 + changed + 1_000, 300_000);
    note('burst: the same everywhere after', now() - begin);

    const half = Math.floor(count / 2);
    const [here, there] = [nodes.slice(0, half), nodes.slice(half)];
    ground.cut(here, there, true);
    for (let i = 0; i < 50; i++) {
      // Ports that both sides take, services that both sides make, and some of each side's own.
      const [a, b] = [here[i % half] as MeshNode, there[i % (count - half)] as MeshNode];
      await apply(a, serviceOf(`here-${i}`, 20_000 + i, 'a'), serviceOf(`both-${i}`, 21_000 + i, 'a'));
      await apply(b, serviceOf(`there-${i}`, 20_000 + i, 'b'), serviceOf(`both-${i}`, 21_000 + i, 'b'));
      await apply(b, serviceOf(`only-${i}`, 22_000 + i, 'b'));
    }
    await wait(PARTITION_MS);
    ground.cut(here, there, false);
    const services = 1 + changed + 1_000 + 150;
    await timed('healed after a minute apart', () => oneOf(ground, nodes, services, 120_000));

    const off = nodes.at(-1) as MeshNode;
    const others = nodes.slice(0, -1);
    off.agent.kill('SIGKILL');
    await off.agent.exited();
    await send(others, MISSED, 'missed', Number.POSITIVE_INFINITY);
    await oneOf(ground, others, services, 300_000);
    await off.agent.start();
    const [wanted] = await hashes(ground, others);
    const caughtUpMs = await timed(
      `a node that was off has what it missed (${MISSED} changes)`,
      // The others do not change any more; to ask them all, every 50 ms, would take the processor from what is measured.
      () =>
        until(
          'it to have what the others have',
          async () => (await hashes(ground, [off])).has(wanted as string),
          60_000,
        ),
      GOALS.catchUpMs,
    );
    await oneOf(ground, nodes, services, 60_000);

    await timed('all restarted, one after another', async () => {
      for (const { agent } of nodes) {
        agent.kill('SIGTERM');
        await agent.exited();
        await agent.start();
      }
      await ground.together(nodes, 120_000);
    });
    await timed('half of them killed and started again', async () => {
      for (const { agent } of there) agent.kill('SIGKILL');
      await Promise.all(there.map(({ agent }) => agent.exited()));
      await apply(here[0] as MeshNode, serviceOf('web', 8001, 'last'));
      for (const { agent } of there) await agent.start(120_000);
      await oneOf(ground, nodes, services, 120_000);
    });

    let lost = 0;
    let sent = 0;
    for (const load of loads) {
      const exchanges = await load.stop();
      sent += exchanges.length;
      lost += exchanges.filter(({ failure }) => failure !== '').length;
    }
    console.log();
    printTable(['what', 'ms', 'goal', ''], rows);
    console.log(
      `\n${sent} requests meanwhile, ${lost} lost; ${(idle / 2 ** 20).toFixed(1)} MiB per agent (PSS) before`,
    );
    const checks = {
      change: p99 <= GOALS.changeP99Ms,
      catchUp: caughtUpMs <= GOALS.catchUpMs,
      lost: lost === 0,
    };
    const written = writeResult('mesh', {
      machine: machine(),
      nodes: count,
      figures,
      sent,
      lost,
      agentPssBytes: idle,
      goals: GOALS,
      checks,
    });
    console.log(written);
    return Object.values(checks).every(Boolean);
  } finally {
    watchers.close();
    await scope.close();
  }
};
