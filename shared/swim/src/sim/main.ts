// SPDX-License-Identifier: Apache-2.0
/** Figures of the failure detector, simulated: node shared/swim/dist/sim/main.js --help */
import process from 'node:process';
import { parseArgs } from 'node:util';
import { lan, local, type Tuning, wan } from '../core/tuning.js';
import { experiment, type Outcome, type Setup, type Slowness } from './experiment.js';
import { quantile, table } from './figures.js';
import { paper } from './paper.js';
import { swimOnly } from './variants.js';
import type { Traffic } from './world.js';

const HELP = `Usage: node shared/swim/dist/sim/main.js [options]

  --nodes N         members of the cluster (100)
  --seed N          the same seed gives the same output (1)
  --seeds N         so many runs, from that seed on: each figure's median, and its least and greatest (1)
  --preset NAME     lan, wan or local: memberlist's figures (lan)
  --suspicion N     multiplier of the suspicion timeout (the preset's: 4, 6, 3)
  --latency A-B     one way, in milliseconds (0.2-1)
  --loss PERCENT    of datagrams and of segments, once the cluster stands (0)
  --slow PERCENT    of members are slow (0)
  --slow-ms N       they read what arrives so much later (10000)
  --slow-gap-ms N   instead, they stand still for --slow-ms, then run for so long, by turns (not)
  --seconds N       of watching for false positives (60)
  --kills N         members killed one after another (10)
  --lifeguard WHAT  on, off or both (both)
  --paper           instead: the experiments of the Lifeguard paper, 128 members that are blocked by turns, with the
                    parts of Lifeguard one by one, and its figures beside; takes --seed and --seeds (8 minutes each)
`;

function main(args: string[]): void {
  const { values } = parseArgs({
    args,
    options: {
      nodes: { type: 'string', default: '100' },
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string', default: '1' },
      preset: { type: 'string', default: 'lan' },
      suspicion: { type: 'string' },
      latency: { type: 'string', default: '0.2-1' },
      loss: { type: 'string', default: '0' },
      slow: { type: 'string', default: '0' },
      'slow-ms': { type: 'string', default: '10000' },
      'slow-gap-ms': { type: 'string' },
      seconds: { type: 'string', default: '60' },
      kills: { type: 'string', default: '10' },
      lifeguard: { type: 'string', default: 'both' },
      paper: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return;
  }
  if (values.paper) {
    const from = number('seed', values.seed, 0, 0xffff_ffff);
    for (const line of paper(from, number('seeds', values.seeds, 1, 1000))) console.log(line);
    return;
  }
  const [least, most] = values.latency.split('-').map((text) => number('latency', text, 0, 10_000));
  const nodes = number('nodes', values.nodes, 3, 20_000);
  const slowNodes = Math.round((nodes * number('slow', values.slow, 0, 50)) / 100);
  const setup = {
    seed: number('seed', values.seed, 0, 0xffff_ffff),
    nodes,
    link: {
      latencyMs: [least ?? 0, most ?? least ?? 0],
      loss: number('loss', values.loss, 0, 90) / 100,
    },
    slowNodes,
    slow: slowness(number('slow-ms', values['slow-ms'], 1, 3600_000), values['slow-gap-ms']),
    watchMs: number('seconds', values.seconds, 1, 86_400) * 1000,
    kills: number('kills', values.kills, 0, nodes - slowNodes - 1),
  } as const;
  const preset = one('preset', values.preset, { lan, wan, local });
  const suspicion = values.suspicion ?? String(preset.suspicionMultiplier);
  const tuning = { ...preset, suspicionMultiplier: number('suspicion', suspicion, 1, 100) };
  const runs = one('lifeguard', values.lifeguard, {
    on: [['Lifeguard', tuning]],
    off: [['SWIM', swimOnly(tuning)]],
    both: [
      ['SWIM', swimOnly(tuning)],
      ['Lifeguard', tuning],
    ],
  } as Record<string, [string, Tuning][]>);
  const seeds = Array.from({ length: number('seeds', values.seeds, 1, 1000) }, (_, at) => setup.seed + at);
  console.log(
    describe({ ...setup, tuning }, seeds.length, `${values.preset} (suspicion × ${tuning.suspicionMultiplier})`),
  );
  const outcomes = runs.map(
    ([name, used]) => [name, seeds.map((seed) => experiment({ ...setup, seed, tuning: used }))] as const,
  );
  console.log(table(figures(outcomes, setup.nodes, setup.kills)));
}

function slowness(ms: number, gap: string | undefined): Slowness {
  return gap === undefined
    ? { kind: 'late', ms }
    : { kind: 'still', ms, gapMs: number('slow-gap-ms', gap, 1, 3600_000) };
}

function describe(setup: Setup, seeds: number, preset: string): string {
  const { nodes, seed, link, slowNodes, watchMs, kills } = setup;
  const { slow: of } = setup;
  const how = of.kind === 'late' ? `reading ${of.ms} ms late` : `${of.kind} ${of.ms} ms, running ${of.gapMs} ms`;
  const slow = slowNodes === 0 ? 'none slow' : `${slowNodes} slow (${how})`;
  const wire = `${link.latencyMs.join(' to ')} ms one way, ${link.loss * 100} % lost`;
  const from = seeds === 1 ? `seed ${seed}` : `seeds ${seed} to ${seed + seeds - 1}`;
  return `${nodes} nodes, preset ${preset}, ${wire}, ${slow}; watched for ${watchMs / 1000} s, then ${kills} killed; ${from}\n`;
}

type Column = readonly [name: string, outcomes: readonly Outcome[]];

function figures(columns: readonly Column[], nodes: number, kills: number): string[][] {
  const row = (
    name: string,
    figure: (outcome: Outcome) => number | undefined,
    form: (value: number) => string = String,
  ): string[] => [name, ...columns.map(([, outcomes]) => spread(outcomes.map(figure), form))];
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const oneDigit = (value: number): string => value.toFixed(1);
  const rate = (traffic: Traffic & { ms: number }, of: (traffic: Traffic) => number): number | undefined =>
    traffic.ms === 0 ? undefined : (of(traffic) / traffic.ms / nodes) * 1000;
  return [
    ['', ...columns.map(([name]) => name)],
    row('first detection, median', ({ firstMs }) => quantile(firstMs, 0.5), seconds),
    row('first detection, longest', ({ firstMs }) => quantile(firstMs, 1), seconds),
    row('known to all, median', ({ allMs }) => quantile(allMs, 0.5), seconds),
    row('known to all, longest', ({ allMs }) => quantile(allMs, 1), seconds),
    row(`of ${kills} killed, known to all`, ({ allMs }) => allMs.length),
    row('false positives about healthy members', ({ falsePositives }) => falsePositives.about),
    row('  of these at healthy members', ({ falsePositives }) => falsePositives.atHealthy),
    row('  different members', ({ falsePositives }) => falsePositives.victims.size),
    row('deaths told of slow members', ({ falsePositives }) => falsePositives.aboutSlow),
    row('watching: datagrams per node and second', ({ quiet }) => rate(quiet, (of) => of.datagrams), oneDigit),
    row(
      'watching: bytes of datagrams per node and second',
      ({ quiet }) => rate(quiet, (of) => of.datagramBytes),
      oneDigit,
    ),
    row('watching: bytes of streams per node and second', ({ quiet }) => rate(quiet, (of) => of.streamBytes), oneDigit),
    row('killing: datagrams per node and second', ({ dying }) => rate(dying, (of) => of.datagrams), oneDigit),
    row(
      'killing: bytes of datagrams per node and second',
      ({ dying }) => rate(dying, (of) => of.datagramBytes),
      oneDigit,
    ),
    row('killing: bytes of streams per node and second', ({ dying }) => rate(dying, (of) => of.streamBytes), oneDigit),
  ];
}

/** Of several runs the median, and in brackets the least and the greatest; of one what it gave. */
function spread(values: readonly (number | undefined)[], form: (value: number) => string): string {
  const known = values.filter((value) => value !== undefined);
  const middle = quantile(known, 0.5);
  if (middle === undefined) return '-';
  return values.length === 1
    ? form(middle)
    : `${form(middle)} (${form(Math.min(...known))} to ${form(Math.max(...known))})`;
}

function number(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text !== '' && value >= least && value <= most) return value;
  throw new RangeError(`--${option} is '${text}': expected a number from ${least} to ${most}`);
}

function one<T>(option: string, name: string, of: Record<string, T>): T {
  const value = Object.hasOwn(of, name) ? of[name] : undefined;
  if (value !== undefined) return value;
  throw new RangeError(`--${option} is '${name}': expected one of ${Object.keys(of).join(', ')}`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
