// SPDX-License-Identifier: Apache-2.0
/** npm run bench -- l4|config|xdp|nat|floods|qos|mesh|terminal|console [--rounds N] [--seconds S] [--only NAME]; ends with 1 when a goal was missed. */
import { parseArgs } from 'node:util';
import { config } from './config.js';
import { consoles } from './console.js';
import { floods } from './floods.js';
import { l4 } from './l4.js';
import { mesh } from './mesh.js';
import { nat } from './nat.js';
import { qos } from './qos.js';
import { terminal } from './terminal.js';
import { xdp } from './xdp.js';

const usage = `usage: npm run bench -- l4 [--rounds N] [--seconds S] [--only NAME]
       npm run bench -- config [--rounds N]
       npm run bench -- xdp [--rounds N]
       npm run bench -- nat [--rounds N] [--seconds S]
       npm run bench -- floods [--rounds N] [--seconds S]
       npm run bench -- qos [--rounds N] [--seconds S] [--only rates|tiers|priorities|uplink]
       npm run bench -- mesh [--nodes N]
       npm run bench -- terminal [--seconds S]
       npm run bench -- console [--only frames|changes|cpu|memory|lighthouse] [--seconds S] [--minutes M]
  --nodes N     agents (20)
  --minutes M   console: the page is watched for what it keeps (5)
  --rounds N    rounds that a median is taken over (l4: 9, others: 5)
  --seconds S   l4, nat, floods: length of each one's slice of a round (1); qos: time over which a rate is measured (10); terminal: of each measurement (10); console: over which CPU time is measured (60)
  --only NAME   l4: only the workloads whose name contains NAME; the result goes to a file of its own`;
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      nodes: { type: 'string', default: '20' },
      minutes: { type: 'string', default: '5' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const rounds = Number(values.rounds ?? (positionals[0] === 'l4' ? 9 : 5));
  const usualSeconds: Readonly<Record<string, number>> = { qos: 10, terminal: 10, console: 60 };
  const seconds = Number(values.seconds ?? usualSeconds[positionals[0] ?? ''] ?? 1);
  if (!(seconds >= 0.2 && seconds <= 60))
    throw new Error(`--seconds '${values.seconds}': a number from 0.2 to 60 is expected`);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`--rounds '${values.rounds}': a whole number from 1 is expected`);
  const nodes = Number(values.nodes);
  if (!Number.isInteger(nodes) || nodes < 3 || nodes > 50)
    throw new Error(`--nodes '${values.nodes}': a whole number from 3 to 50 is expected`);
  const minutes = Number(values.minutes);
  if (!(minutes >= 0.1 && minutes <= 600))
    throw new Error(`--minutes '${values.minutes}': a number from 0.1 to 600 is expected`);
  const [name] = positionals;
  const benchmarks: Readonly<Record<string, () => Promise<boolean>>> = {
    l4: () => l4({ rounds, seconds, only: values.only }),
    config: () => config(rounds),
    xdp: () => xdp(rounds),
    nat: () => nat(rounds, seconds),
    floods: () => floods(rounds, seconds),
    mesh: () => mesh(nodes),
    terminal: () => terminal(seconds),
    console: () => consoles({ seconds, minutes, only: values.only }),
    qos: () => qos({ rounds, seconds, only: values.only }),
  };
  const benchmark = benchmarks[name ?? ''];
  if (positionals.length !== 1 || benchmark === undefined)
    throw new Error(`unknown benchmark '${positionals.join(' ')}'`);
  const passed = await benchmark();
  process.exit(passed ? 0 : 1);
} catch (error) {
  console.error(`${(error as Error).message}\n${usage}`);
  process.exit(2);
}
