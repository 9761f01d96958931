// SPDX-License-Identifier: Apache-2.0
/** Cases, their running, and what they leave: a line each on the terminal, figures as JSON, logs when one fails. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import path from 'node:path';
import { Agent, type AgentOptions, compileOnce } from './agent.js';
import { BackendProcess } from './backend.js';
import type { BackendSettings } from './backend-main.js';
import { Load, type Tally, tally } from './load.js';
import type { Exchange, LoadSettings } from './load-main.js';
import { PACE } from './pace.js';
import { REPOSITORY, Scope } from './scope.js';
import { makeTopology, type Topology } from './topology.js';

export interface Case {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
  /** Seconds after which the case has failed, at full pace. Default 120. */
  readonly limitSeconds?: number;
  /** Nothing else runs meanwhile: it measures, or takes all that the machine has. */
  readonly alone?: boolean;
  /** What this machine lacks for it, and so it is skipped; undefined: nothing. */
  readonly lacks?: () => string | undefined;
}

export class CheckFailed extends Error {}

/** What a case works with. Everything made here ends with the case. */
export class World {
  readonly scope: Scope;
  readonly engine: string | undefined;
  readonly figures: Record<string, unknown> = {};
  #topology: Topology | undefined;
  readonly #loads: Load[] = [];
  readonly #books = new Map<Load, readonly Exchange[]>();

  constructor(scope: Scope, engine: string | undefined) {
    this.scope = scope;
    this.engine = engine;
  }

  /** client, proxy and three backends. */
  get net(): Topology {
    this.#topology ??= makeTopology(this.scope, 3);
    return this.#topology;
  }

  check(condition: boolean, what: string): asserts condition {
    if (!condition) throw new CheckFailed(what);
  }

  equal(actual: unknown, expected: unknown, what: string): void {
    this.check(Object.is(actual, expected), `${what}: expected ${String(expected)}, got ${String(actual)}`);
  }

  /** A figure for the report. */
  note(name: string, value: unknown): void {
    this.figures[name] = typeof value === 'number' ? Math.round(value * 100) / 100 : value;
  }

  /** Backend i (from 1) in its own namespace: TCP and UDP on 8080, HTTP on 8081, on both families. */
  backend(i: number, settings: Partial<BackendSettings> = {}): Promise<BackendProcess> {
    const host = this.net.backends[i - 1];
    this.check(host !== undefined, `there is no backend host ${i}`);
    return BackendProcess.start(
      this.scope,
      { name: `b${i}`, host: '::', tcp: 8080, udp: 8080, http: 8081, ...settings },
      host.netns,
    );
  }

  backends(count: number): Promise<BackendProcess[]> {
    return Promise.all(Array.from({ length: count }, (_, i) => this.backend(i + 1)));
  }

  agent(options: AgentOptions = {}): Agent {
    return new Agent(this.scope, { netns: this.net.proxy.netns, engine: this.engine, ...options });
  }

  /** A load client at the client's host. */
  async load(settings: Omit<LoadSettings, 'host'> & { host?: string }): Promise<Load> {
    const load = await Load.start(this.scope, { host: this.net.proxy.v4, ...settings }, this.net.client.netns);
    this.#loads.push(load);
    return load;
  }

  /** Stops the load and puts its counts into the report. label: before the load's name. */
  async settle(load: Load, label = ''): Promise<Tally & { exchanges: readonly Exchange[] }> {
    this.#books.set(load, []);
    const exchanges = await load.stop();
    this.#books.set(load, exchanges);
    const counts = tally(exchanges);
    this.note(`${label}${load.settings.name}`, counts);
    return { ...counts, exchanges };
  }

  /** For a failed case: what loads that it left open say goes into its report, and all books, each exchange of them, to
   * its logs. */
  async leftovers(): Promise<void> {
    for (const [i, load] of this.#loads.entries()) {
      let books = this.#books.get(load);
      if (books === undefined) {
        const report = await load.snapshot().catch(() => undefined);
        if (report === undefined) continue;
        books = report.exchanges;
        this.note(`${load.settings.name} (when it failed)`, tally(books));
      }
      const lines = books.map((exchange) => JSON.stringify(exchange));
      writeFileSync(path.join(this.scope.logs, `books-${i + 1}-${load.settings.name}.jsonl`), `${lines.join('\n')}\n`);
    }
  }
}

const describe = (value: unknown): string => {
  if (typeof value !== 'object' || value === null) return String(value);
  const t = value as Partial<Tally>;
  if (typeof t.sent === 'number') {
    const reasons = Object.entries(t.reasons ?? {}).map(([reason, n]) => `${n}x ${reason}`);
    return (
      `${t.sent} sent, ${t.answered} answered, ${t.failed} failed${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}` +
      `, p50 ${t.p50Ms} ms, p99 ${t.p99Ms} ms, longest gap ${t.longestGapMs} ms, backends ${JSON.stringify(t.backends)}`
    );
  }
  return JSON.stringify(value);
};

export interface SuiteOptions {
  readonly name: string;
  readonly label: string;
  readonly engine: string | undefined;
  readonly only: string | undefined;
  /** Cases that run at the same time. */
  readonly lanes: number;
}

interface CaseResult {
  readonly name: string;
  readonly ok: boolean;
  readonly failure: string;
  readonly seconds: number;
  readonly figures: Readonly<Record<string, unknown>>;
}

/** Runs one case to its end, and says on the terminal what became of it. */
const runCase = async (one: Case, engine: string | undefined, artefacts: string): Promise<CaseResult> => {
  const begin = performance.now();
  const logs = path.join(artefacts, one.name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60));
  const scope = new Scope(logs);
  const world = new World(scope, engine);
  let failure = '';
  let timer: NodeJS.Timeout | undefined;
  try {
    const limit = (one.limitSeconds ?? 120) * PACE;
    await Promise.race([
      one.run(world),
      new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not done after ${limit} s`)), limit * 1_000);
      }),
    ]);
  } catch (error) {
    failure = error instanceof CheckFailed ? error.message : String((error as Error).stack ?? error);
    await Promise.race([world.leftovers(), new Promise((resolve) => setTimeout(resolve, 2_000))]);
  } finally {
    clearTimeout(timer);
    await scope.close();
  }
  const seconds = (performance.now() - begin) / 1_000;
  const lines = [`${failure === '' ? 'ok    ' : 'FAILED'} ${one.name} (${seconds.toFixed(1)} s)`];
  for (const [name, value] of Object.entries(world.figures)) lines.push(`         ${name}: ${describe(value)}`);
  if (failure !== '') {
    lines.push(failure.replace(/^/gm, '       ! '), `       ! logs: ${path.relative(process.cwd(), logs)}`);
  }
  console.log(lines.join('\n'));
  if (failure === '') rmSync(logs, { recursive: true, force: true });
  return { name: one.name, ok: failure === '', failure, seconds, figures: world.figures };
};

/** Runs the cases, those that need the machine for themselves last. Returns how many failed. */
export const runSuite = async (cases: readonly Case[], options: SuiteOptions): Promise<number> => {
  const title = options.label === '' ? options.name : `${options.name}-${options.label}`;
  const artefacts = path.join(REPOSITORY, 'e2e/artefacts', title);
  rmSync(artefacts, { recursive: true, force: true });
  mkdirSync(artefacts, { recursive: true });
  const chosen = cases.filter((c) => options.only === undefined || c.name.includes(options.only));
  const skipped = chosen.flatMap((one) => {
    const reason = one.lacks?.();
    return reason === undefined ? [] : [{ one, name: one.name, reason }];
  });
  for (const { name, reason } of skipped) console.log(`skip   ${name}: ${reason}`);
  const runnable = chosen.filter((one) => !skipped.some((other) => other.one === one));
  if (runnable.length > 0) compileOnce();
  const results: CaseResult[] = [];
  const lane = async (queue: Case[]): Promise<void> => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      results.push(await runCase(one, options.engine, artefacts));
    }
  };
  const together = options.lanes > 1 ? runnable.filter(({ alone }) => alone !== true) : [];
  const queue = [...together];
  await Promise.all(Array.from({ length: options.lanes }, () => lane(queue)));
  await lane(runnable.filter((one) => !together.includes(one)));
  results.sort(
    (a, b) => chosen.findIndex(({ name }) => name === a.name) - chosen.findIndex(({ name }) => name === b.name),
  );
  const failed = results.filter(({ ok }) => !ok).length;
  const report = {
    suite: title,
    date: new Date().toISOString(),
    machine: { kernel: release(), arch: arch(), cpu: cpus()[0]?.model ?? '', cores: cpus().length },
    node: process.version,
    passed: runnable.length - failed,
    failed,
    skipped: skipped.map(({ name, reason }) => ({ name, reason })),
    cases: results,
  };
  writeFileSync(path.join(artefacts, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  if (chosen.length === 0) console.log(`no case's name contains '${options.only}'`);
  const left = skipped.length === 0 ? '' : `, ${skipped.length} skipped`;
  console.log(`${runnable.length - failed} passed, ${failed} failed${left}`);
  return chosen.length === 0 ? 1 : failed;
};
