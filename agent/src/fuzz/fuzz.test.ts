// SPDX-License-Identifier: Apache-2.0
/** Each target on its corpus and a little further; "npm run fuzz" goes on for as long as it is told. */
import { expect, test } from 'vitest';
import { keptOf } from './corpus.js';
import { fuzz } from './fuzzer.js';
import { gossipTargets } from './gossip-targets.js';
import { identityTargets } from './identity-targets.js';
import { replicationTargets } from './replication-targets.js';
import type { Target } from './target.js';

const EXECUTIONS = 400;

const targets = [...gossipTargets, ...replicationTargets, ...(await identityTargets())];

test.each(targets.map((target): [string, Target] => [target.name, target]))(
  '%s: nothing that comes from outside breaks it',
  async (name, target) => {
    const goOn = (executions: number): boolean => executions < EXECUTIONS;
    const { finding } = await fuzz(target, { kept: keptOf(name), seed: 1, goOn, batch: 50 });
    if (finding !== undefined) {
      const input = Buffer.from(finding.input).toString('base64');
      throw new Error(`on ${input}`, { cause: finding.error });
    }
  },
);

test('a target that breaks is found, with the input that does it, and the same again from the same seed', async () => {
  const broken: Target = {
    name: 'broken',
    bytesMax: 100,
    seeds: [Buffer.from('harmless')],
    run: (input) => {
      if (input[0] === 0) throw new Error('broken');
    },
  };
  const outcomes = await Promise.all([1, 1].map((seed) => fuzz(broken, { kept: [], seed, goOn: (n) => n < 10_000 })));
  expect(outcomes[0]?.finding?.input[0]).toBe(0);
  expect(outcomes[1]?.finding?.input).toEqual(outcomes[0]?.finding?.input);
});
