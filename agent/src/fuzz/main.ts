// SPDX-License-Identifier: Apache-2.0
/**
 * npm run fuzz -- [TARGET...] [--seconds N] [--seed S]: each target in turn for so long, from its corpus in agent/fuzz.
 * What breaks one is written to .cache/fuzz and named; an input that found something goes to the corpus with its fix.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { keptOf } from './corpus.js';
import { Coverage } from './coverage.js';
import { fuzz } from './fuzzer.js';

// Of code that was compiled before it began, V8 tells functions, not blocks.
const coverage = new Coverage();
const [{ gossipTargets }, { replicationTargets }, { identityTargets }] = await Promise.all([
  import('./gossip-targets.js'),
  import('./replication-targets.js'),
  import('./identity-targets.js'),
]);

const FOUND = join(import.meta.dirname, '../../../.cache/fuzz');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
const targets = [...gossipTargets, ...replicationTargets, ...(await identityTargets())];
const unknown = positionals.filter((name) => targets.every((target) => target.name !== name));
if (unknown.length > 0 || !Number.isFinite(seconds + seed)) {
  console.error(`unknown: ${unknown.join(' ')}; targets are ${targets.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
let failed = 0;
for (const target of targets) {
  if (positionals.length > 0 && !positionals.includes(target.name)) continue;
  const before = coverage.blocks;
  const end = performance.now() + seconds * 1_000;
  const kept = keptOf(target.name);
  const { executions, corpus, finding } = await fuzz(target, {
    ...{ kept, seed, coverage, batch: 1_000 },
    goOn: () => performance.now() < end,
  });
  const grown = corpus.length - target.seeds.length - kept.length;
  console.log(
    `${target.name}: ${executions} executions, seed ${seed}, ${coverage.blocks - before} new blocks, ${grown} inputs added to ${corpus.length - grown}`,
  );
  if (finding === undefined) continue;
  failed += 1;
  mkdirSync(FOUND, { recursive: true });
  const file = join(FOUND, `${target.name}-${createHash('sha256').update(finding.input).digest('hex').slice(0, 12)}`);
  writeFileSync(file, finding.input);
  console.error(`${target.name}: ${file}\n`, finding.error);
}
process.exit(failed === 0 ? 0 : 1);
