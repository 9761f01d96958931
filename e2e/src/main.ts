// SPDX-License-Identifier: Apache-2.0
/** npm run e2e -- SUITE [--list] [--only TEXT] [--engine PATH] [--label NAME] */
import { parseArgs } from 'node:util';
import { PACE } from './harness/pace.js';
import { type Case, runSuite } from './harness/suite.js';

const suites: Readonly<Record<string, () => Promise<readonly Case[]>>> = {
  basic: async () => (await import('./suites/basic/index.js')).basic,
  console: async () => (await import('./suites/console/index.js')).consoleCases,
  'console-large': async () => (await import('./suites/console/index.js')).consoleLongCases,
  faults: async () => (await import('./suites/faults/index.js')).faults,
  guest: async () => (await import('./suites/guest/index.js')).guest,
  qos: async () => (await import('./suites/qos/index.js')).qos,
  shaping: async () => (await import('./suites/shaping/index.js')).shaping,
  mesh: async () => (await import('./suites/mesh/index.js')).mesh,
  crowd: async () => (await import('./suites/mesh/crowd.js')).largeCrowd,
  packet: async () => (await import('./suites/packet/index.js')).packet,
};

/** Suites of which several cases run at once: most of their time is that of processes that start, and waiting. */
const LANES: Readonly<Record<string, number>> = { basic: 2, mesh: 2, packet: 2, faults: 2, console: 3 };

const usage = `usage: npm run e2e -- ${Object.keys(suites).join('|')} [--list] [--only TEXT] [--engine PATH] [--label NAME]`;

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: 'boolean', default: false },
      only: { type: 'string' },
      engine: { type: 'string' },
      label: { type: 'string', default: '' },
    },
  });
  const name = positionals[0] ?? '';
  const suite = suites[name];
  if (suite === undefined || positionals.length !== 1) throw new Error(`unknown suite '${positionals.join(' ')}'`);
  if (values.list) {
    for (const one of await suite()) console.log(one.name);
    process.exit(0);
  }
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root');
  const { label, engine, only } = values;
  const lanes = PACE > 1 ? 1 : (LANES[name] ?? 1);
  const failed = await runSuite(await suite(), { name, label, engine, only, lanes });
  process.exit(failed === 0 ? 0 : 1);
} catch (error) {
  console.error(`${(error as Error).message}\n${usage}`);
  process.exit(2);
}
