// SPDX-License-Identifier: Apache-2.0
/** What is asked of the proxies, and by whom. */
import path from 'node:path';
import { REPOSITORY } from '@marcher/e2e/harness/scope';
import { type Contender, type Ground, LOAD_CORE, pinned } from './peers.js';

const LOAD = path.join(REPOSITORY, 'bench/load/build/bench-load');

export interface LoadResult {
  readonly done: number;
  readonly failed: number;
  readonly lost: number;
  readonly seconds: number;
  /** What the load itself used; undefined when it does not say. */
  readonly cpuSeconds: number | undefined;
  readonly p50Us: number | undefined;
  readonly p99Us: number | undefined;
}

export interface Workload {
  readonly name: string;
  readonly what: string;
  /** Those that take part beside Marcher. The first line of each pair is the plain configuration. */
  readonly peers: readonly string[];
  /** Peers that are shown and not competed with. */
  readonly shown: readonly string[];
  /** What the figure is, and what it has to be: CPU per unit beside the best peer's, or work per CPU-second. */
  readonly goal:
    | { readonly figure: 'cpu'; readonly atMost: number }
    | { readonly figure: 'work'; readonly atLeast: number }
    | undefined;
  /** Exchanges of the warm-up. */
  readonly warmUp: number;
  readonly run: (ground: Ground, proxy: Contender, exchanges: number, seconds: number) => Promise<LoadResult>;
}

const closedLoop =
  (mode: string, connections: number, bytes: number) =>
  async (ground: Ground, proxy: Contender, exchanges: number): Promise<LoadResult> => {
    const count = Math.max(exchanges, connections);
    const argv = [LOAD, mode, ground.host, proxy.port, connections, count, bytes].map(String);
    const text = await ground.scope.must(pinned(LOAD_CORE, argv), { netns: ground.netns, timeoutMs: 130_000 });
    return JSON.parse(text) as LoadResult;
  };

/** wrk counts what it has had answered within the time, and says in text what failed. */
export const parseWrk = (text: string): LoadResult => {
  const summary = /^\s*(\d+) requests in ([\d.]+)(ms|s|m),/m.exec(text);
  if (summary === null) throw new Error(`wrk printed no summary: ${text.trim()}`);
  const scale = { ms: 1e-3, s: 1, m: 60 }[summary[3] as 'ms' | 's' | 'm'];
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const statuses = /Non-2xx or 3xx responses: (\d+)/.exec(text);
  const failed = [...(errors?.slice(1) ?? []), statuses?.[1] ?? '0'].reduce((sum, n) => sum + Number(n), 0);
  const done = Number(summary[1]);
  const seconds = Number(summary[2]) * scale;
  return { done, failed, lost: 0, seconds, cpuSeconds: undefined, p50Us: undefined, p99Us: undefined };
};

const wrk =
  (connections: number) =>
  async (ground: Ground, proxy: Contender, exchanges: number, seconds: number): Promise<LoadResult> => {
    const time = exchanges > 0 ? Math.max(1, Math.round(seconds)) : 1;
    const url = `http://${ground.host}:${proxy.httpPort}/`;
    const argv = ['wrk', '-t', '1', '-c', String(connections), '-d', `${time}s`, url];
    return parseWrk(await ground.scope.must(pinned(LOAD_CORE, argv), { netns: ground.netns, timeoutMs: 60_000 }));
  };

export const IDLE = 8_000;

export const workloads: readonly Workload[] = [
  {
    name: 'keepalive-64B',
    what: 'requests of 64 B on 50 standing connections',
    peers: ['haproxy', 'nginx'],
    shown: [],
    goal: { figure: 'cpu', atMost: 0.95 },
    warmUp: 30_000,
    run: closedLoop('keepalive', 50, 64),
  },
  {
    name: 'connect',
    what: 'connect, one request of 64 B, close; 50 at a time',
    peers: ['haproxy', 'nginx'],
    shown: ['nginx-half-close'],
    goal: { figure: 'work', atLeast: 1.2 },
    warmUp: 5_000,
    run: closedLoop('connect', 50, 64),
  },
  {
    name: 'bulk-1MB',
    what: 'replies of 1 MB on 8 standing connections',
    peers: ['haproxy', 'haproxy-splice', 'nginx', 'nginx-256k'],
    shown: [],
    goal: { figure: 'work', atLeast: 1.1 },
    warmUp: 1_000,
    run: closedLoop('keepalive', 8, 1_048_576),
  },
  {
    name: 'udp-512B',
    what: 'datagrams of 512 B, 200 clients, each answered',
    peers: ['nginx'],
    shown: [],
    goal: { figure: 'work', atLeast: 1.2 },
    warmUp: 30_000,
    run: closedLoop('udp', 200, 512),
  },
  {
    name: 'wrk-http',
    what: 'cross-check of keepalive-64B by another load: wrk, HTTP GET of 13 B on 50 standing connections',
    peers: ['haproxy', 'nginx'],
    shown: [],
    goal: undefined,
    warmUp: 0,
    run: wrk(50),
  },
];

export const idleLoad = (ground: Ground, proxy: Contender): string[] =>
  pinned(LOAD_CORE, [LOAD, 'idle', ground.host, String(proxy.port), String(IDLE), '0', '64']);
