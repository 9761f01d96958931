// SPDX-License-Identifier: Apache-2.0
/**
 * Tasks of the page's main thread, by Chromium's trace: how long each took, and how much of that it ran. The agents of a benchmark, the
 * gateway and Chromium share two cores here, so that a task may wait for longer than it works.
 */
import type { Page } from 'playwright-core';

export interface MainThread {
  /** ms of CPU of the longest task, and what it took of a clock. */
  readonly longestCpuMs: number;
  readonly longestCpuTookMs: number;
  /** Tasks with more than 50 ms of CPU. */
  readonly long: number;
  /** ms of CPU, of all tasks. */
  readonly cpuMs: number;
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** µs. */
  readonly dur?: number;
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

const LONG_MS = 50;

/** While something is done in the page. */
export async function mainThreadDuring(page: Page, run: () => Promise<void>): Promise<MainThread> {
  const session = await page.context().newCDPSession(page);
  const events: TraceEvent[] = [];
  session.on('Tracing.dataCollected', ({ value }) => events.push(...(value as unknown as TraceEvent[])));
  await session.send('Tracing.start', {
    transferMode: 'ReportEvents',
    traceConfig: {
      includedCategories: ['toplevel', 'disabled-by-default-lighthouse'],
      recordMode: 'recordAsMuchAsPossible',
    },
  });
  await run();
  const { promise: complete, resolve } = Promise.withResolvers<void>();
  session.once('Tracing.tracingComplete', () => resolve());
  await session.send('Tracing.end');
  await complete;
  await session.detach();
  return tasksOf(events);
}

function tasksOf(events: readonly TraceEvent[]): MainThread {
  const threadOf = ({ pid, tid }: TraceEvent): string => `${pid}/${tid}`;
  const main = new Set(
    events.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(threadOf),
  );
  const tasks = events
    .filter((event) => event.ph === 'X' && event.name.endsWith('RunTask') && main.has(threadOf(event)))
    .map(({ dur = 0, tdur = 0 }) => ({ tookMs: dur / 1_000, cpuMs: tdur / 1_000 }));
  if (tasks.length === 0)
    throw new Error('the trace has no task of a main thread: are its categories still called so?');
  const longest = tasks.reduce((most, task) => (task.cpuMs > most.cpuMs ? task : most));
  return {
    longestCpuMs: longest.cpuMs,
    longestCpuTookMs: longest.tookMs,
    long: tasks.filter(({ cpuMs }) => cpuMs > LONG_MS).length,
    cpuMs: tasks.reduce((sum, { cpuMs }) => sum + cpuMs, 0),
  };
}
