// SPDX-License-Identifier: Apache-2.0
/**
 * The terminal console: from a key to the end of the frame that shows it, and what it writes while nothing changes. In this process, on
 * a terminal that is none: what is measured ends where the bytes are given to the system. Its CPU time: console/terminal-cpu.ts.
 */
import { cpus } from 'node:os';
import { performance } from 'node:perf_hooks';
import { clearInterval, setInterval } from 'node:timers';
import { setTimeout } from 'node:timers/promises';
import { printTable } from '@marcher/e2e/demo/table';
import { HandFleet } from '@marcher/tui/testing/console-harness';
import { FakeInput, FakeOutput } from '@marcher/tui/testing/fake-terminal';
import { changed, flow, meshState, serviceName } from '@marcher/tui/testing/mesh-state';
import { writeResult } from './result.js';

const SERVICES = 5_000;
/** One in a hundred of them. */
const MOVING = 50;
/** On the screen in every size, and moved by no update: the chosen row is among them. */
const STILL = 15;
const KEY_GOAL_MS = 30;

const sizes = [
  { columns: 80, rows: 24 },
  { columns: 120, rows: 40 },
  { columns: 300, rows: 100 },
];
type Size = (typeof sizes)[number];

interface Opened {
  readonly fleet: HandFleet;
  readonly input: FakeInput;
  readonly output: FakeOutput;
  close(): Promise<void>;
}

const open = async ({ columns, rows }: Size, nodes: number, backends: number): Promise<Opened> => {
  const fleet = new HandFleet(meshState({ nodes, services: SERVICES, backends }));
  const input = new FakeInput();
  const output = Object.assign(new FakeOutput(), { columns, rows });
  // As the command loads it: React then leaves out what it does for those who develop with it.
  process.env['NODE_ENV'] = 'production';
  const { openConsole } = await import('@marcher/tui/ui/console');
  const calls = {} as never;
  const ended = openConsole({
    ...{ fleet, reach: { entry: calls, node: () => calls }, target: 'bench' },
    ...{ stdin: input as never, stdout: output as never, env: { LANG: 'C.UTF-8' } },
  });
  await shown(output, () => output.written.includes(' Marcher '));
  input.type(':services\r');
  await shown(output, () => output.written.includes(serviceName(0)));
  output.written = '';
  return {
    ...{ fleet, input, output },
    async close() {
      input.type('\u0003');
      await ended;
    },
  };
};

const shown = async (output: FakeOutput, is: () => boolean): Promise<void> => {
  const end = performance.now() + 10_000;
  while (!is()) {
    if (performance.now() > end)
      throw new Error(`the console did not show what was expected: ${output.written.slice(-300)}`);
    await setTimeout(1);
  }
};

/** Moves one in a hundred services, so often a second. Gives what ends it. */
const moving = (fleet: HandFleet, perSecond: number): (() => void) => {
  let turn = 0;
  const timer = setInterval(() => {
    turn++;
    const moved = Array.from({ length: MOVING }, (_, i) => {
      const index = STILL + ((turn + i * (SERVICES / MOVING)) % (SERVICES - STILL));
      return [serviceName(index), { flow: flow((turn + i) % 40, turn * 1_000 + i) }] as const;
    });
    fleet.set(changed(fleet.state, { services: Object.fromEntries(moved), flow: flow(turn % 90, turn * 5_000) }));
  }, 1_000 / perSecond);
  return () => clearInterval(timer);
};

/** Milliseconds from each key until the end of the frame with the row that it chose. */
const keyTimes = async (size: Size, seconds: number): Promise<number[]> => {
  const { fleet, input, output, close } = await open(size, 3, 2);
  const stop = moving(fleet, 10);
  const times: number[] = [];
  const end = performance.now() + seconds * 1_000;
  let at = 0;
  let step = 1;
  while (performance.now() < end) {
    if (at + step < 0 || at + step >= STILL) step = -step;
    at += step;
    const begun = performance.now();
    const { promise, resolve } = Promise.withResolvers<number>();
    let seen = '';
    output.onWrite = (text) => {
      seen += text;
      // The row that is chosen now, in inverse; then the end of the synchronized update.
      if (seen.includes('\u001b[7m>') && text.includes('\u001b[?2026l')) resolve(performance.now() - begun);
    };
    input.type(step > 0 ? 'j' : 'k');
    const time = await Promise.race([promise, setTimeout(1_000, 1_000)]);
    output.onWrite = () => undefined;
    output.written = '';
    times.push(time);
    // No step with the updates, nor with the frames.
    await setTimeout(20 + ((times.length * 7) % 37));
  }
  stop();
  await close();
  return times.sort((one, other) => one - other);
};

/** Bytes while states come of which nothing is seen. */
const quietBytes = async (size: Size, seconds: number): Promise<number> => {
  const { fleet, output, close } = await open(size, 50, 2);
  await setTimeout(100);
  output.written = '';
  const timer = setInterval(() => fleet.set(changed(fleet.state, {})), 100);
  await setTimeout(seconds * 1_000);
  clearInterval(timer);
  const bytes = Buffer.byteLength(output.written);
  await close();
  return bytes;
};

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** False: a goal was missed. */
export const terminal = async (seconds: number): Promise<boolean> => {
  const results = [];
  for (const size of sizes) {
    const times = await keyTimes(size, seconds);
    const result = {
      size: `${size.columns}x${size.rows}`,
      keys: times.length,
      keyP50Ms: percentile(times, 0.5),
      keyP99Ms: percentile(times, 0.99),
      keyMaxMs: percentile(times, 1),
      quietBytes: await quietBytes(size, Math.min(seconds, 5)),
    };
    results.push(result);
    console.error(`${result.size}: key p99 ${result.keyP99Ms.toFixed(1)} ms`);
  }
  const passed = results.every((each) => each.keyP99Ms < KEY_GOAL_MS && each.quietBytes === 0);
  console.log(`Terminal console: ${SERVICES} services; keys at 10 states a second\n`);
  printTable(
    ['size', 'keys', 'key p50', 'key p99', 'key max', 'bytes while quiet'],
    results.map((each) => [
      each.size,
      String(each.keys),
      ...[each.keyP50Ms, each.keyP99Ms, each.keyMaxMs].map((ms) => `${ms.toFixed(1)} ms`),
      String(each.quietBytes),
    ]),
  );
  const file = writeResult('terminal', {
    ...{ services: SERVICES, moving: MOVING, seconds, machine: cpus()[0]?.model, cores: cpus().length },
    ...{ goals: { keyP99Ms: KEY_GOAL_MS, quietBytes: 0 }, passed, results },
  });
  console.log(`\n${passed ? 'All goals are met' : 'A goal was missed'}: ${file}`);
  return passed;
};
