// SPDX-License-Identifier: Apache-2.0
/** What processes cost: CPU time and memory as the kernel counts them; medians of what was measured. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time in seconds of the processes, to the nanosecond: /proc/PID/stat counts in ticks of 10 ms. */
export const cpuSeconds = (pids: readonly number[]): number => {
  let nanoseconds = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      try {
        // On the CPU, waiting for it, time slices (Documentation/scheduler/sched-stats).
        nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
      } catch {
        // A thread that has just ended.
      }
    }
  }
  return nanoseconds / 1e9;
};

export interface CoreTime {
  readonly busySeconds: number;
  /** Taken by the hypervisor for others. */
  readonly stolenSeconds: number;
}

/** What all of the machine did on a core (proc(5), stat). */
export const coreTime = (core: number): CoreTime => {
  const row = readFileSync('/proc/stat', 'latin1')
    .split('\n')
    .find((line) => line.startsWith(`cpu${core} `));
  if (row === undefined) throw new Error(`this machine has no core ${core}: the benchmark needs two`);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = row.split(' ').slice(1).map(Number);
  return {
    busySeconds: (user + nice + system + irq + softirq) / ticksPerSecond,
    stolenSeconds: steal / ticksPerSecond,
  };
};

export interface Memory {
  readonly rssBytes: number;
  readonly pssBytes: number;
}

export const memory = (pids: readonly number[]): Memory => {
  let rssBytes = 0;
  let pssBytes = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    const value = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
    rssBytes += value('Rss');
    pssBytes += value('Pss');
  }
  return { rssBytes, pssBytes };
};

/** Memory of all TCP sockets of the machine, as the kernel accounts it. */
export const tcpMemoryBytes = (): number =>
  4096 * Number(/^TCP:.* mem (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'latin1'))?.[1] ?? 0);

/** The process and its descendants. */
export const family = (pid: number): number[] => {
  const found = [pid];
  for (const thread of existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : []) {
    const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').trim();
    if (children !== '') for (const child of children.split(' ')) found.push(...family(Number(child)));
  }
  return found;
};

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly all: readonly number[];
}

export const spread = (values: readonly number[]): Spread => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
  return { median: median ?? 0, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0, all: values };
};

export const machine = (): Record<string, unknown> => ({
  kernel: release(),
  cpu: cpus()[0]?.model ?? '',
  cores: cpus().length,
  memoryBytes: totalmem(),
});

/** The first line that a program prints about its version (on either output). */
export const version = (command: string, ...args: string[]): string => {
  const text = execFileSync('sh', ['-c', '"$@" 2>&1 || true', 'sh', command, ...args], { encoding: 'utf8' });
  return text.split('\n')[0]?.trim() ?? '';
};
