// SPDX-License-Identifier: Apache-2.0
/**
 * node agent/dist/simulate-replication.js --histories N --seed S [--nodes N] [--store memory|sqlite] [--clusters]
 * [--jobs N]: runs that many histories, each from its own seed, some at once. Without --nodes, --store and --clusters they
 * are of all sizes, both stores, and some of nodes in clusters, as each seed says. One that fails says its seed, and with what it is replayed exactly.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { HistoryResult } from './domain/replication/sim/history.js';
import { kindOf, runOf, type Wanted } from './simulation/histories.js';
import { Tally } from './simulation/tally.js';

interface Done {
  readonly seed: number;
  readonly result: HistoryResult;
}

function work(): void {
  const wanted = workerData as Wanted;
  parentPort?.on('message', (seed: number) => {
    const done: Done = { seed, result: runOf(seed, kindOf(seed, wanted)) };
    parentPort?.postMessage(done);
  });
}

/** Hands out one seed after the other, to so many threads. */
async function runAll(seeds: number[], wanted: Wanted, jobs: number, onDone: (done: Done) => void): Promise<void> {
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: wanted });
      const next = (): void => {
        const seed = seeds.shift();
        if (seed === undefined) void worker.terminate().then(() => resolve());
        else worker.postMessage(seed);
      };
      worker.on('error', reject);
      worker.on('message', (done: Done) => {
        onDone(done);
        next();
      });
      next();
    });
  await Promise.all(Array.from({ length: Math.min(jobs, seeds.length) }, one));
}

function parse(): { numbers: readonly number[]; wanted: Wanted } | string {
  const { values } = parseArgs({
    options: {
      histories: { type: 'string', default: '1000' },
      seed: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      nodes: { type: 'string' },
      store: { type: 'string' },
      clusters: { type: 'boolean' },
    },
  });
  const numbers = [values.histories, values.seed, values.jobs, values.nodes ?? '3'].map(Number);
  if (numbers.some((n) => !Number.isSafeInteger(n) || n < 1)) {
    return '--histories, --seed, --jobs and --nodes take numbers from 1 up';
  }
  const { store } = values;
  if (store !== undefined && store !== 'memory' && store !== 'sqlite') return '--store takes memory or sqlite';
  if (values.clusters === true && (values.nodes !== undefined || store !== undefined)) {
    return '--clusters goes with neither --nodes nor --store: each seed says how many nodes, which are in memory';
  }
  const nodes = values.nodes === undefined ? {} : { nodes: Number(values.nodes) };
  const clusters = values.clusters === true ? { clusters: true } : {};
  return { numbers, wanted: { ...nodes, ...clusters, ...(store === undefined ? {} : { store }) } };
}

async function main(): Promise<number> {
  const parsed = parse();
  if (typeof parsed === 'string') {
    console.error(parsed);
    return 2;
  }
  const { numbers, wanted } = parsed;
  const [histories = 1, first = 1, jobs = 1] = numbers;
  const started = process.cpuUsage();
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage(started);
    return (user + system) / 1e6;
  };
  const tally = new Tally();
  let shown = 0;
  // The largest first, so that no thread begins one when the others are done.
  const seeds = Array.from({ length: histories }, (_, i) => first + i).sort(
    (a, b) => kindOf(b, wanted).nodes - kindOf(a, wanted).nodes || a - b,
  );
  const asked = Object.entries(wanted).map(([option, value]) => ` --${option}${value === true ? '' : ` ${value}`}`);
  await runAll(seeds, wanted, jobs, ({ seed, result }) => {
    const kind = kindOf(seed, wanted);
    tally.add(kind, result);
    if (result.faults.length > 0) {
      console.error(`seed ${seed}, ${kind.nodes} nodes:\n  ${result.faults.join('\n  ')}`);
      console.error(`  again: npm run sim -- --histories 1 --seed ${seed}${asked.join('')}`);
    }
    if (cpuSeconds() - shown < 10) return;
    shown = cpuSeconds();
    console.log(`${tally.histories} of ${histories} histories, ${tally.failed} failed, ${shown.toFixed(0)} s of CPU`);
  });
  for (const line of tally.lines()) console.log(line);
  const memory = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(
    `${histories} histories from seed ${first}: ${tally.failed} failed; ${tally.frames} frames; healed within ${tally.healedMs} virtual ms; ${cpuSeconds().toFixed(1)} s of CPU, ${memory} MiB`,
  );
  console.log(`${histories - tally.failed} passed, ${tally.failed} failed`);
  return tally.failed === 0 ? 0 : 1;
}

if (isMainThread) process.exitCode = await main();
else work();
