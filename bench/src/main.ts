// SPDX-License-Identifier: Apache-2.0
/** npm run bench -- l4|config [--rounds N] [--only NAME]; ends with 1 when a goal was missed. */
import { parseArgs } from 'node:util';
import { config } from './config.js';
import { l4 } from './l4.js';

const usage = 'usage: npm run bench -- l4|config [--rounds N] [--only NAME]';
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string', default: '5' }, only: { type: 'string' } },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds '${values.rounds}': a whole number from 1 is expected`);
  const [name] = positionals;
  if (positionals.length !== 1 || (name !== 'l4' && name !== 'config'))
    throw new Error(`unknown benchmark '${positionals.join(' ')}'`);
  const passed = name === 'l4' ? await l4(rounds, values.only) : await config(rounds);
  process.exit(passed ? 0 : 1);
} catch (error) {
  console.error(`${(error as Error).message}\n${usage}`);
  process.exit(2);
}
