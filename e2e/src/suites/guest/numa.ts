// SPDX-License-Identifier: Apache-2.0
/** Where workers run and where their memory lies, on a machine whose memory is not all equally near. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { targets, tcpService } from '../services.js';

const NODES = '/sys/devices/system/node';

/** "0-1,4" of sysfs and of /proc. */
const numbers = (list: string): number[] =>
  list
    .trim()
    .split(',')
    .filter((range) => range !== '')
    .flatMap((range) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });

/** CPUs of each node. */
const machine = (world: World): ReadonlyMap<number, readonly number[]> => {
  const online = existsSync(`${NODES}/online`) ? numbers(readFileSync(`${NODES}/online`, 'latin1')) : [0];
  world.check(
    online.length === 2,
    `NUMA nodes of this machine: ${online.length}, not 2; npm run test:kernels makes one that has them`,
  );
  return new Map(online.map((node) => [node, numbers(readFileSync(`${NODES}/node${node}/cpulist`, 'latin1'))]));
};

interface Worker {
  readonly name: string;
  readonly task: string;
  readonly cpus: readonly number[];
}

/** Threads of the engine that serve connections, worker-0 first. */
const workersOf = (pid: number): readonly Worker[] =>
  readdirSync(`/proc/${pid}/task`)
    .map((id) => `/proc/${pid}/task/${id}`)
    .map((task) => ({
      task,
      name: readFileSync(`${task}/comm`, 'latin1').trim(),
      cpus: numbers(/^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync(`${task}/status`, 'latin1'))?.[1] ?? ''),
    }))
    .filter(({ name }) => name.startsWith('worker-'))
    .sort((a, b) => Number(a.name.slice(7)) - Number(b.name.slice(7)));

interface Mapping {
  readonly start: bigint;
  /** Of the thread, where the mapping has none of its own: "default", "prefer:1". */
  readonly policy: string;
  /** Its other words: "heap", "file=...", "anon=17". */
  readonly words: readonly string[];
  /** Pages by node. */
  readonly pages: ReadonlyMap<number, number>;
}

/** numa_maps(5). */
const mappings = (task: string): readonly Mapping[] =>
  readFileSync(`${task}/numa_maps`, 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [start = '', policy = '', ...words] = line.split(' ');
      const pages = words.flatMap((word) => {
        const [, node, count] = /^N(\d+)=(\d+)$/.exec(word) ?? [];
        return node === undefined ? [] : ([[Number(node), Number(count)]] as const);
      });
      return { start: BigInt(`0x${start}`), policy, words, pages: new Map(pages) };
    });

/** Where the thread's stack is: the mapping that its stack pointer lies in, which begins above the guard. */
const stackOf = ({ task }: Worker): Promise<Mapping> =>
  until(`${task} to wait in a system call`, () => {
    // "running", or number, arguments, stack pointer, program counter.
    const words = readFileSync(`${task}/syscall`, 'latin1').trim().split(' ');
    if (words.length < 3) return undefined;
    const pointer = BigInt(words.at(-2) as string);
    return mappings(task).findLast(({ start }) => start <= pointer);
  });

const PAGE = 4_096;
/** Blocks of physical memory that sysfs shows, and the node of each. */
const blocksOf = (nodes: Iterable<number>): { bytes: number; nodeOf: ReadonlyMap<number, number> } => ({
  bytes: Number.parseInt(readFileSync('/sys/devices/system/memory/block_size_bytes', 'latin1'), 16),
  nodeOf: new Map(
    [...nodes].flatMap((node) =>
      readdirSync(`${NODES}/node${node}`)
        .filter((name) => /^memory\d+$/.test(name))
        .map((name) => [Number(name.slice(6)), node] as const),
    ),
  ),
});

/**
 * Pages of a thread's stack by node, one by one: numa_maps counts by mapping, and kernels make one of two that are
 * neighbours and alike. Before Linux 6.7, which keeps huge pages from stacks, that is a stack with what the main thread has
 * mapped above it.
 */
const stackPages = (pid: number, start: bigint, nodes: Iterable<number>): Map<number, number> => {
  const limit = /^Max stack size\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'latin1'))?.[1];
  // As the C library has it: the guard is of the stack's size; without a limit 2 MiB.
  const count = Number(limit ?? 2 << 20) / PAGE - 1;
  const entries = Buffer.alloc(8 * count);
  const file = openSync(`/proc/${pid}/pagemap`, 'r');
  const read = readSync(file, entries, 0, entries.length, Number(start / BigInt(PAGE)) * 8);
  closeSync(file);
  const { bytes, nodeOf } = blocksOf(nodes);
  const pages = new Map<number, number>();
  for (let at = 0; at + 8 <= read; at += 8) {
    const entry = entries.readBigUInt64LE(at);
    // Bit 63: in memory; the lowest 55: the number of its frame.
    if (entry >> 63n === 0n) continue;
    const node = nodeOf.get(Math.floor((Number(entry & ((1n << 55n) - 1n)) * PAGE) / bytes)) ?? -1;
    pages.set(node, (pages.get(node) ?? 0) + 1);
  }
  return pages;
};

/**
 * Pages on each node of what threads have made for themselves: stacks, malloc's arenas, slabs. Not the heap and the stack
 * of the main thread, and not the libraries' variables.
 */
const ownPages = (pid: number, nodes: Iterable<number>): number[] => {
  const own = mappings(`/proc/${pid}`).filter(
    ({ words }) =>
      words.some((word) => word.startsWith('anon=')) &&
      !words.some((word) => word === 'heap' || word === 'stack' || word.startsWith('file=')),
  );
  return [...nodes].map((node) => own.reduce((sum, { pages }) => sum + (pages.get(node) ?? 0), 0));
};

/** An engine that has served 400 connections; hands back its process and the share of its threads' pages on each node. */
const served = async (
  world: World,
  nodes: readonly number[],
  args: readonly string[],
): Promise<{ pid: number; shares: number[] }> => {
  // Pages are to be where the engine has put them, though the kernel would move those that are used from afar some day; and
  // one huge page would count for more than everything else.
  writeFileSync('/proc/sys/kernel/numa_balancing', '0');
  writeFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'never');
  await world.backends(2);
  const agent = world.agent({ args });
  await agent.start();
  await agent.apply([tcpService('web', 5001, targets(world, 2))]);
  const pid = await agent.enginePid();
  // Connections that stay, so that what they take is there to be counted; the kernel spreads them over the workers.
  const connections = 400;
  const load = await world.load({ name: 'standing', kind: 'tcp-keepalive', port: 5001, rate: 1_000, connections });
  const all = async (): Promise<boolean> => (await load.snapshot()).exchanges.length > connections;
  await until('each connection to have carried a request', all, 30_000, 100);
  const pages = ownPages(pid, nodes);
  const counts = await world.settle(load);
  world.equal(counts.failed, 0, 'failed requests');
  world.note('pages by node', pages);
  const total = pages.reduce((sum, n) => sum + n, 0);
  world.check(total >= 64, `the engine's threads have only ${total} pages`);
  return { pid, shares: pages.map((n) => n / total) };
};

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

export const numa: readonly Case[] = [
  {
    name: 'workers take turns between NUMA nodes, each on a CPU of its own with its memory beside it',
    run: async (world: World) => {
      const cpusOf = machine(world);
      const nodes = [...cpusOf.keys()];
      const { pid, shares } = await served(world, nodes, []);
      const workers = workersOf(pid);
      const all = [...cpusOf.values()].flat();
      world.equal(workers.length, all.length, 'workers');
      world.equal(new Set(workers.flatMap(({ cpus }) => cpus)).size, all.length, 'CPUs that have a worker');
      for (const [i, worker] of workers.entries()) {
        const node = nodes[i % nodes.length] as number;
        world.equal(worker.cpus.length, 1, `CPUs that ${worker.name} may run on`);
        const [cpu] = worker.cpus;
        world.check(
          cpusOf.get(node)?.includes(cpu ?? -1) === true,
          `${worker.name} is on CPU ${cpu}, not of node ${node}`,
        );
        const stack = await stackOf(worker);
        world.equal(stack.policy, `prefer:${node}`, `memory policy of ${worker.name}`);
        const pages = stackPages(pid, stack.start, nodes);
        const place = `${worker.name}, CPU ${cpu}, node ${node}`;
        world.note(`${place}: pages of its stack by node`, [...pages]);
        world.note(`${place}: pages of the mapping that it is in`, [...stack.pages]);
        world.check((pages.get(node) ?? 0) > 0, `the stack of ${worker.name} has no page on node ${node}`);
        for (const [other, count] of pages) {
          if (other !== node) world.equal(count, 0, `pages of ${worker.name}'s stack on node ${other}`);
        }
      }
      for (const [i, share] of shares.entries()) {
        world.check(share > 0.3 && share < 0.7, `node ${nodes[i]} has ${percent(share)} of the memory`);
      }
    },
  },
  {
    name: 'workers that are given the CPUs of one node have their memory there',
    run: async (world: World) => {
      const cpusOf = machine(world);
      const nodes = [...cpusOf.keys()];
      const far = nodes.at(-1) as number;
      const cpus = cpusOf.get(far) ?? [];
      const { pid, shares } = await served(world, nodes, ['--cpus', cpus.join(',')]);
      const workers = workersOf(pid);
      world.equal(workers.length, cpus.length, 'workers');
      for (const worker of workers) {
        world.check(
          cpus.includes(worker.cpus[0] ?? -1) && worker.cpus.length === 1,
          `${worker.name} is on ${worker.cpus}`,
        );
      }
      // The rest is of threads that are not workers, some twenty pages, which may run anywhere.
      world.check((shares.at(-1) ?? 0) > 0.6, `node ${far} has only ${percent(shares.at(-1) ?? 0)} of the memory`);
    },
  },
];
