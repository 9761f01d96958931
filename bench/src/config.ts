// SPDX-License-Identifier: Apache-2.0
/** npm run bench -- config: 10,000 services of 10 backends; then one backend changed among them. */
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import path from 'node:path';
import { clone, create } from '@bufbuild/protobuf';
import { printTable } from '@marcher/e2e/demo/table';
import { Agent } from '@marcher/e2e/harness/agent';
import { BackendProcess } from '@marcher/e2e/harness/backend';
import { now, REPOSITORY, Scope, sleep } from '@marcher/e2e/harness/scope';
import { BackendSchema, parseConfiguration, type Service, ServiceSchema, serviceToFile } from '@marcher/model';
import { machine, memory, spread } from './measure.js';
import { writeResult } from './result.js';

const SERVICES = 10_000;
const BACKENDS = 10;
const GOALS = { programMs: 1_000, changeMs: 20, agentBytes: 200 * 2 ** 20 };
/** What scripts/bench builds: optimised, without assertions. */
const BUILD = path.join(REPOSITORY, 'dataplane-c/build-release/src');
const ENGINE = path.join(BUILD, 'marcher-engine');
const LIBRARY = path.join(BUILD, 'control/libmarcher.so');
const LOGS = path.join(REPOSITORY, '.cache/bench-logs');

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

/** The most that the process has had resident since it began. */
const peakBytes = (pid: number): number =>
  1024 * Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);

type Timing = { validateMs: number; compileMs: number; storeMs: number; programMs: number } | undefined;

/** Its four parts, and what the whole took beyond them: the client's encoding, the transport and the decoding. */
const parts = (t: Timing, wholeMs: number): Record<string, number> | undefined => {
  if (t === undefined) return undefined;
  const { validateMs, compileMs, storeMs, programMs } = t;
  return { validateMs, compileMs, storeMs, programMs, restMs: wholeMs - validateMs - compileMs - storeMs - programMs };
};

const parse = (text: string, source: string): { services: Service[]; ms: number } => {
  const at = now();
  const parsed = parseConfiguration(text, { source });
  const ms = now() - at;
  if (parsed.configuration === undefined)
    throw new Error(`the file is refused: ${JSON.stringify(parsed.violations?.[0])}`);
  return { services: parsed.configuration.services, ms };
};

/** An agent and an engine that have just been started, with nothing configured. */
const fresh = async (scope: Scope): Promise<{ agent: Agent; netns: string }> => {
  const netns = scope.addNetns('n');
  const agent = new Agent(scope, { netns, engine: ENGINE, args: ['--workers', '1', '--library', LIBRARY] });
  await agent.start();
  // What starting leaves to do later is done by then.
  await sleep(1_000);
  return { agent, netns };
};

interface Programmed {
  readonly full: number[];
  readonly timings: unknown[];
  readonly peaks: number[];
}

const program = async (agent: Agent, services: readonly Service[], results: Programmed): Promise<void> => {
  const at = now();
  const reply = await agent.config.apply({ change: { upsert: [...services], replaceAll: true }, omitDiff: true });
  const ms = now() - at;
  results.full.push(ms);
  results.timings.push(parts(reply.timing, ms));
  results.peaks.push(peakBytes(agent.pid));
};

/** rounds: how often everything is programmed, each time into an agent and an engine that were just started. */
export const config = async (rounds: number): Promise<boolean> => {
  const load = loadavg();
  const text = document();
  const { services, ms: parseYamlMs } = parse(text, 'services.yaml');
  const { ms: parseJsonMs } = parse(
    JSON.stringify({ apiVersion: 'marcher/v1', services: services.map(serviceToFile) }),
    'services.json',
  );
  const programmed: Programmed = { full: [], timings: [], peaks: [] };
  for (let i = 1; i < rounds; i++) {
    const scope = new Scope(LOGS);
    try {
      await program((await fresh(scope)).agent, services, programmed);
    } finally {
      await scope.close();
    }
  }
  const scope = new Scope(LOGS);
  try {
    const { agent, netns } = await fresh(scope);
    await program(agent, services, programmed);

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
      const ms = now() - at;
      change.push(ms);
      changeTimings.push(parts(reply.timing, ms));
    }
    // Effective means that traffic goes there: one service with nothing but the serving backend, asked at once.
    const last = clone(ServiceSchema, services[1] ?? create(ServiceSchema));
    last.backends = [create(BackendSchema, { address: serving.tcpAddress })];
    await agent.config.apply({ change: { upsert: [last] }, omitDiff: true });
    const answer = await scope.must(['bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/10001; echo "1 0" >&3; head -n 1 <&3'], {
      netns,
    });
    if (!answer.startsWith('1 new')) throw new Error(`the changed service was answered by '${answer.trim()}'`);

    await sleep(2_000);
    const agentMemory = memory([agent.pid]);
    const engineMemory = memory([await agent.enginePid()]);
    const fullSpread = spread(programmed.full);
    const changeSpread = spread(change);
    const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const verdict = (good: boolean): string => (good ? 'pass' : 'SHORT');
    const checks = {
      programmed: fullSpread.median <= GOALS.programMs,
      changed: changeSpread.median <= GOALS.changeMs,
      agentMemory: agentMemory.rssBytes <= GOALS.agentBytes,
    };
    const rows = [
      ['parsing the YAML file', `${parseYamlMs.toFixed(0)} ms`, '', '', ''],
      ['parsing it as JSON', `${parseJsonMs.toFixed(0)} ms`, '', '', ''],
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
      ['its peak while programming', mib(Math.max(...programmed.peaks)), '', '', ''],
      ['memory of the engine (RSS)', mib(engineMemory.rssBytes), '', '', ''],
    ];
    printTable(['what', 'median', 'spread', 'goal', ''], rows);
    const status = await agent.node.status({});
    const written = writeResult('config', {
      machine: machine(),
      versions: { marcher: status.version, engine: `${status.engine?.version} ${status.engine?.buildId.slice(0, 12)}` },
      services: SERVICES,
      backendsPerService: BACKENDS,
      fileBytes: Buffer.byteLength(text),
      loadAverageBefore: load,
      parseYamlMs,
      parseJsonMs,
      programMs: fullSpread,
      programTimings: programmed.timings,
      changeMs: changeSpread,
      changeTimings,
      agentMemory,
      agentPeakBytes: programmed.peaks,
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
