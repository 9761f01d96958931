// SPDX-License-Identifier: Apache-2.0
/** The consoles at the size that issue 5 names: 50 nodes and 5,000 services. Parts: frames, changes, cpu, memory, lighthouse. */
import { printTable } from '@marcher/e2e/demo/table';
import { CHANGE_GOAL_MS, changesShown, type Times } from './console/changes.js';
import { clientCpu } from './console/client-cpu.js';
import { FIRST_PAINT_GOAL_MS, pageFrames } from './console/frames.js';
import { lighthouse } from './console/lighthouse.js';
import { GROWTH_GOAL, pageMemory, simulatedDay } from './console/memory.js';
import { machine } from './console/opened.js';
import { terminalCpu } from './console/terminal-cpu.js';
import { writeResult } from './result.js';

const NODES = 50;
const SERVICES = 5_000;
const CHANGES = 200;
const DAY_HOURS = 24;
/** Of the terminal console. */
const CPU_GOAL_PERCENT = 5;

export interface ConsoleOptions {
  /** One part alone. */
  readonly only: string | undefined;
  /** Of the measurement of CPU time. */
  readonly seconds: number;
  /** That the page is watched for what it keeps. */
  readonly minutes: number;
}

interface Part {
  readonly result: unknown;
  readonly rows: readonly (readonly [string, string, string])[];
  readonly passed: boolean;
}

type Measure = (options: ConsoleOptions) => Promise<Part>;

const ms = (value: number): string => `${value.toFixed(1)} ms`;
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

const parts: Readonly<Record<string, Measure>> = {
  frames: async () => {
    const result = await pageFrames(NODES, SERVICES);
    const { opened, openedSmall, loading, using, passed } = result;
    const paints = opened.map(({ firstContentfulPaintMs }) => firstContentfulPaintMs);
    const drawn = opened.map(({ drawnMs }) => drawnMs);
    const long = (each: typeof opened): string => {
      const frames = each.flatMap(({ longMs }) => longMs);
      return `${frames.length} above 50 ms${frames.length === 0 ? '' : ` (${frames.map(ms).join(', ')})`}`;
    };
    const { long: usedLong, longestMs, p50Ms, p99Ms, maxMs } = using;
    return {
      ...{ result, passed },
      rows: [
        [
          `first contentful paint, of ${opened.length} openings`,
          `${ms(Math.min(...paints))} to ${ms(Math.max(...paints))}`,
          `< ${FIRST_PAINT_GOAL_MS} ms`,
        ],
        ['the console itself', `${ms(Math.min(...drawn))} to ${ms(Math.max(...drawn))}`, `< ${FIRST_PAINT_GOAL_MS} ms`],
        ['frames while it is opened', long(opened), 'none above 50 ms'],
        ['the same of a mesh of 2 nodes and 10 services', long(openedSmall), ''],
        [
          'its longest task until all nodes are there',
          `${ms(loading.longestCpuMs)} of CPU, ${ms(loading.longestCpuTookMs)} with its waiting; there after ${ms(loading.ms)}`,
          '',
        ],
        [
          'frames while it is used',
          `${usedLong} above 50 ms (${ms(longestMs)}); apart p50 ${ms(p50Ms)}, p99 ${ms(p99Ms)}, most ${ms(maxMs)}`,
          'none above 50 ms',
        ],
      ],
    };
  },
  changes: async () => {
    const result = await changesShown(NODES, SERVICES, CHANGES);
    const figures = ({ p50Ms, p95Ms, maxMs }: Times): string => `p50 ${ms(p50Ms)}, p95 ${ms(p95Ms)}, most ${ms(maxMs)}`;
    return {
      result,
      passed: result.passed,
      rows: [
        [
          'a change of the configuration until it is shown',
          figures(result.configuration),
          `p95 < ${CHANGE_GOAL_MS} ms`,
        ],
        [
          'a backend that fails, or is well again, at all nodes until it is shown',
          figures(result.health),
          `p95 < ${CHANGE_GOAL_MS} ms`,
        ],
      ],
    };
  },
  cpu: async ({ seconds }) => {
    const whole = await terminalCpu(NODES, SERVICES, seconds);
    const client = await clientCpu(NODES, SERVICES, seconds);
    return {
      ...{ result: { whole, client }, passed: whole.every(({ percent }) => percent < CPU_GOAL_PERCENT) },
      rows: [
        ...whole.map((each): Part['rows'][number] => [
          `marcher, ${each.page} at ${each.size}`,
          `${each.percent.toFixed(1)} % of a core, ${each.memoryMiB.toFixed(0)} MiB resident`,
          `< ${CPU_GOAL_PERCENT} %`,
        ]),
        ...client.map((each): Part['rows'][number] => [
          `its client alone: ${each.moving}`,
          `${each.percent.toFixed(1)} % of a core, ${each.heapMiB.toFixed(0)} MiB of heap`,
          '',
        ]),
      ],
    };
  },
  memory: async ({ minutes }) => {
    const [day, page] = [await simulatedDay(DAY_HOURS), await pageMemory(10, 500, minutes)];
    const heaps = (each: readonly number[]): string =>
      [each[0], each[Math.floor(each.length / 2)], each.at(-1)].map((mib) => `${mib?.toFixed(1)}`).join(', ');
    return {
      ...{ result: { day, page }, passed: day.passed && page.passed },
      rows: [
        [
          `a simulated day, ${day.states} states`,
          `${heaps(day.heapsMiB)} MiB: ${percent(day.growth)}`,
          `<= ${percent(GROWTH_GOAL)}`,
        ],
        [
          `${minutes} min of the page, 10 states/s`,
          `${heaps(page.heapsMiB)} MiB: ${percent(page.growth)}`,
          `<= ${percent(GROWTH_GOAL)}`,
        ],
      ],
    };
  },
  lighthouse: async () => {
    const result = await lighthouse(NODES, SERVICES);
    return {
      ...{ result, passed: result.every(({ passed }) => passed) },
      rows: result.map(({ preset, performance, accessibility, short }) => [
        `Lighthouse, ${preset}`,
        `performance ${performance}, accessibility ${accessibility}${short.length === 0 ? '' : ` (${short.join('; ')})`}`,
        '>= 95',
      ]),
    };
  },
};

/** False: a goal was missed. Each part has a file of its own in bench/results. */
export const consoles = async (options: ConsoleOptions): Promise<boolean> => {
  const chosen = Object.entries(parts).filter(([name]) => options.only === undefined || options.only === name);
  if (chosen.length === 0) throw new Error(`--only '${options.only}': expected ${Object.keys(parts).join(', ')}`);
  const rows: (readonly [string, string, string])[] = [];
  let allPassed = true;
  for (const [name, measure] of chosen) {
    const before = machine();
    const { result, passed, rows: own } = await measure(options);
    allPassed &&= passed;
    rows.push(...own);
    writeResult(`console-${name}`, {
      nodes: NODES,
      services: SERVICES,
      machine: before,
      after: machine(),
      passed,
      result,
    });
  }
  console.log('Consoles: 50 nodes, 5,000 services, 1 % moving\n');
  printTable(['what', 'figure', 'goal'], rows);
  console.log(`\n${allPassed ? 'All goals are met' : 'A goal was missed'}: bench/results/console-*.json`);
  return allPassed;
};
