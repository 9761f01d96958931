// SPDX-License-Identifier: Apache-2.0
/**
 * What `marcher` takes of a core while somebody watches a mesh by it: the whole process, on a real terminal (tmux), with its client, against
 * simulated agents in this process. That of tmux is not counted.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { MARCHER } from '@marcher/e2e/harness/agent';
import { REPOSITORY, Scope } from '@marcher/e2e/harness/scope';
import { Terminal } from '@marcher/e2e/harness/terminal';
import { serveSimulation } from '@marcher/e2e/suites/console/served-simulation';
import { watchedMesh } from './client-cpu.js';

export interface TerminalCpu {
  readonly page: string;
  readonly size: string;
  /** Of a core: of all of the process's threads. */
  readonly percent: number;
  /** Resident. */
  readonly memoryMiB: number;
  readonly seconds: number;
}

const LOOKS = [
  { page: 'services', columns: 80, rows: 24 },
  { page: 'services', columns: 120, rows: 40 },
  { page: 'services', columns: 300, rows: 100 },
  { page: 'dashboard', columns: 120, rows: 40 },
] as const;
/** What was compiled for a look is compiled, and the rates are moving. */
const SETTLE_MS = 15_000;
/** Linux: USER_HZ. */
const TICKS_PER_SECOND = 100;

export async function terminalCpu(nodes: number, services: number, seconds: number): Promise<readonly TerminalCpu[]> {
  const scope = new Scope(path.join(REPOSITORY, '.cache/bench-console'));
  const simulation = watchedMesh(nodes, services, 'the same on all nodes');
  const socket = path.join(scope.dir, 'agent.sock');
  const server = await serveSimulation(simulation, socket);
  try {
    const [{ columns, rows }] = LOOKS;
    const terminal = await Terminal.open(scope, { columns, rows });
    await terminal.keys(`exec ${MARCHER} --target unix:${socket}`, 'Enter');
    await terminal.shows('all nodes', (screen) => screen.includes(` ${nodes} nodes `), 120_000);
    const pid = await terminal.processId();
    const results: TerminalCpu[] = [];
    for (const look of LOOKS) {
      await terminal.resize(look.columns, look.rows);
      await terminal.keys(`:${look.page}`, 'Enter');
      await setTimeout(SETTLE_MS);
      const before = ticksOf(pid);
      const beganMs = performance.now();
      await setTimeout(seconds * 1_000);
      const passedSeconds = (performance.now() - beganMs) / 1_000;
      results.push({
        page: look.page,
        size: `${look.columns}x${look.rows}`,
        percent: ((ticksOf(pid) - before) / TICKS_PER_SECOND / passedSeconds) * 100,
        memoryMiB: residentMiB(pid),
        seconds,
      });
    }
    return results;
  } finally {
    await scope.close();
    server.close();
  }
}

/** User and system time: proc_pid_stat(5), fields 14 and 15. */
function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024;
}
