// SPDX-License-Identifier: Apache-2.0
/**
 * node agent/dist/simulate-replication.js --histories N --seed S [--nodes N]: runs that many histories, each
 * from its own seed. One that fails says its seed; `--histories 1 --seed THAT --nodes N` replays it exactly.
 */
import { hash as digest } from 'node:crypto';
import { parseArgs } from 'node:util';
import { runHistory } from './domain/replication/sim/history.js';

/** Most histories are of few nodes, which meet each other's troubles more often. */
function nodesOf(seed: number): number {
  if (seed % 200 === 0) return 100;
  if (seed % 10 === 0) return 10;
  return 3;
}

function main(): number {
  const { values } = parseArgs({
    options: {
      histories: { type: 'string', default: '1000' },
      seed: { type: 'string', default: '1' },
      nodes: { type: 'string' },
    },
  });
  const numbers = [values.histories, values.seed, values.nodes ?? '3'].map(Number);
  if (numbers.some((n) => !Number.isSafeInteger(n) || n < 1)) {
    console.error('--histories, --seed and --nodes take numbers from 1 up');
    return 2;
  }
  const [histories = 1, first = 1] = numbers;
  const hash = (bytes: Uint8Array): Uint8Array => digest('sha256', bytes, 'buffer');
  const events = new Map<string, number>();
  const started = process.cpuUsage();
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage(started);
    return (user + system) / 1e6;
  };
  let failed = 0;
  let frames = 0;
  let slowest = 0;
  let shown = 0;
  for (let i = 0; i < histories; i++) {
    const seed = first + i;
    const nodes = values.nodes === undefined ? nodesOf(seed) : Number(values.nodes);
    const result = runHistory({ seed, nodes, hash });
    frames += result.frames;
    slowest = Math.max(slowest, result.healedMs);
    for (const [what, count] of Object.entries(result.events)) events.set(what, (events.get(what) ?? 0) + count);
    if (result.faults.length > 0) {
      failed++;
      console.error(`seed ${seed}, ${nodes} nodes:\n  ${result.faults.join('\n  ')}`);
    }
    if (cpuSeconds() - shown >= 10) {
      shown = cpuSeconds();
      console.log(
        `${i + 1} of ${histories} histories, ${failed} failed, ${frames} frames, ${shown.toFixed(0)} s of CPU`,
      );
    }
  }
  console.log(Array.from(events, ([what, count]) => `${what}: ${count}`).join(', '));
  console.log(
    `${histories} histories from seed ${first}: ${failed} failed; ${frames} frames; healed within ${slowest} virtual ms; ${cpuSeconds().toFixed(1)} s of CPU`,
  );
  console.log(`${histories - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = main();
