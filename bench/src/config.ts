// SPDX-License-Identifier: Apache-2.0
/** npm run bench -- config: 10,000 services of 10 backends; then one backend changed among them. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { clone, create } from '@bufbuild/protobuf';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent } from '@marcher/e2e/harness/agent';
import { BackendProcess } from '@marcher/e2e/harness/backend';
import { now, REPOSITORY, Scope, sleep } from '@marcher/e2e/harness/scope';
import { BackendSchema, parseConfiguration, ServiceSchema } from '@marcher/model';
import { machine, memory, spread } from './measure.js';
import { writeResult } from './result.js';

const SERVICES = 10_000;
const BACKENDS = 10;
const GOALS = { programMs: 1_000, changeMs: 20, agentBytes: 200 * 2 ** 20 };
const ENGINE = path.join(REPOSITORY, 'dataplane-c/build-release/src/marcher-engine');

/** As an operator's generator would write it: YAML, one listener per service. */
const document = (): string => {
  const lines = ['apiVersion: marcher/v1', 'services:'];
  for (let i = 0; i < SERVICES; i++) {
    lines.push(
      `  - name: service-${i}`,
      `    listeners: [{ protocol: tcp, address: 127.0.0.1, port: ${10_000 + i} }]`,
      '    backends:',
    );
    for (let k = 0; k < BACKENDS; k++) {
      lines.push(`      - { address: "10.${i >> 8}.${i & 255}.${k + 1}:8080", weight: ${1 + (k % 3)} }`);
    }
  }
  return `${lines.join('\n')}\n`;
};

export const config = async (rounds: number): Promise<boolean> => {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-logs'));
  try {
    const netns = scope.addNetns('n');
    const file = path.join(scope.dir, 'services.yaml');
    writeFileSync(file, document());
    const parseAt = now();
    const parsed = parseConfiguration(readFileSync(file, 'utf8'), { source: file });
    const parseMs = now() - parseAt;
    if (parsed.configuration === undefined)
      throw new Error(`the file is refused: ${JSON.stringify(parsed.violations?.[0])}`);
    const services = parsed.configuration.services;

    const agent = new Agent(scope, { netns, engine: ENGINE, args: ['--workers', '1'] });
    await agent.start();
    const rows: string[][] = [];
    const full: number[] = [];
    const timings: unknown[] = [];
    for (let i = 0; i < rounds; i++) {
      // From nothing each time.
      await agent.config.apply({ change: { replaceAll: true }, omitDiff: true });
      const at = now();
      const reply = await agent.config.apply({ change: { upsert: services, replaceAll: true }, omitDiff: true });
      full.push(now() - at);
      const t = reply.timing;
      timings.push(
        t && { validateMs: t.validateMs, compileMs: t.compileMs, storeMs: t.storeMs, programMs: t.programMs },
      );
    }

    const serving = await BackendProcess.start(scope, { name: 'new', host: '127.0.0.1', tcp: 0 }, netns);
    const change: number[] = [];
    const changeTimings: unknown[] = [];
    for (let i = 0; i < Math.max(rounds * 10, 50); i++) {
      const original = services[(i * 997) % SERVICES];
      if (original === undefined) throw new Error('no service');
      const changed = clone(ServiceSchema, original);
      changed.backends[i % BACKENDS] = create(BackendSchema, { address: serving.tcpAddress, weight: 1 + (i % 200) });
      const at = now();
      const reply = await agent.config.apply({ change: { upsert: [changed] }, omitDiff: true });
      change.push(now() - at);
      const t = reply.timing;
      changeTimings.push(
        t && { validateMs: t.validateMs, compileMs: t.compileMs, storeMs: t.storeMs, programMs: t.programMs },
      );
    }
    // Effective means that traffic goes there: one service with nothing but the serving backend, asked at once.
    const last = clone(ServiceSchema, services[1] ?? create(ServiceSchema));
    last.backends = [create(BackendSchema, { address: serving.tcpAddress })];
    await agent.config.apply({ change: { upsert: [last] }, omitDiff: true });
    const answer = await scope.must(
      ['sh', '-c', 'exec 3<>/dev/tcp/127.0.0.1/10001; echo "1 0" >&3; head -n 1 <&3'].map((a, i) =>
        i === 0 ? 'bash' : a,
      ),
      { netns },
    );
    if (!answer.startsWith('1 new')) throw new Error(`the changed service was answered by '${answer.trim()}'`);

    await sleep(2_000);
    const agentMemory = memory([agent.pid]);
    const engineMemory = memory([await agent.enginePid()]);
    const fullSpread = spread(full);
    const changeSpread = spread(change);
    const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const verdict = (good: boolean): string => (good ? 'pass' : 'SHORT');
    const checks = {
      programmed: fullSpread.median <= GOALS.programMs,
      changed: changeSpread.median <= GOALS.changeMs,
      agentMemory: agentMemory.rssBytes <= GOALS.agentBytes,
    };
    rows.push(
      ['parsing the YAML file', `${parseMs.toFixed(0)} ms`, '', '', ''],
      [
        '10,000 x 10 programmed',
        `${fullSpread.median.toFixed(0)} ms`,
        `${fullSpread.min.toFixed(0)} to ${fullSpread.max.toFixed(0)}`,
        '<= 1000 ms',
        verdict(checks.programmed),
      ],
      [
        'one backend changed',
        `${changeSpread.median.toFixed(1)} ms`,
        `${changeSpread.min.toFixed(1)} to ${changeSpread.max.toFixed(1)}`,
        '<= 20 ms',
        verdict(checks.changed),
      ],
      ['memory of the agent (RSS)', mib(agentMemory.rssBytes), '', '<= 200 MiB', verdict(checks.agentMemory)],
      ['memory of the engine (RSS)', mib(engineMemory.rssBytes), '', '', ''],
    );
    printTable(['what', 'median', 'spread', 'goal', ''], rows);
    const status = await agent.node.status({});
    const written = writeResult('config', {
      machine: machine(),
      versions: { marcher: status.version, engine: `${status.engine?.version} ${status.engine?.buildId.slice(0, 12)}` },
      services: SERVICES,
      backendsPerService: BACKENDS,
      parseMs,
      programMs: fullSpread,
      programTimings: timings,
      changeMs: changeSpread,
      changeTimings,
      agentMemory,
      engineMemory,
      goals: GOALS,
      checks,
    });
    console.log(`\n${written}`);
    return Object.values(checks).every(Boolean);
  } finally {
    await scope.close();
  }
};
