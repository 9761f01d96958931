// SPDX-License-Identifier: Apache-2.0
/** Counters now, or rates between one answer and the next. */
import { toJson } from '@bufbuild/protobuf';
import { type Counters, type StatsResponse, StatsResponseSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { bytes, clock, count, microseconds, timeMs } from '../output/quantity.js';
import { type Column, formatTable } from '../output/table.js';
import { positiveSeconds, type Session, type TargetOptions, unlessInterrupted } from '../session.js';

interface StatsOptions extends TargetOptions {
  readonly watch?: string | true;
  readonly backends?: boolean;
  readonly output: 'table' | 'json';
}

interface Row {
  readonly name: string;
  readonly now: Counters;
  /** Counters one interval ago; absent: totals are shown. */
  readonly before: Counters | undefined;
  readonly seconds: number;
}

export async function stats(session: Session, options: StatsOptions, service?: string): Promise<undefined> {
  const seconds =
    options.watch === undefined ? 0 : positiveSeconds(options.watch === true ? '1s' : options.watch, '--watch');
  const intervalMs = seconds === 0 ? 0 : Math.max(100, Math.round(seconds * 1000));
  const agent = await session.agent(options);
  const signal = session.interrupted;
  let previous: StatsResponse | undefined;
  try {
    const request = { service: service ?? '', intervalMs, backends: options.backends === true };
    for await (const response of agent.traffic.stats(request, { signal })) {
      if (options.output === 'json') {
        await session.write(`${JSON.stringify(toJson(StatsResponseSchema, response, { alwaysEmitImplicit: true }))}\n`);
        continue;
      }
      const rows = rowsOf(response, previous);
      const watching = intervalMs > 0;
      if (!watching && rows.length === 0) process.stderr.write('There are no services.\n');
      if (watching) {
        // On a terminal the table stays where it is; in a pipe one follows the other.
        if (process.stdout.isTTY) await session.write('\u001b[H\u001b[2J');
        await session.write(
          `${clock(timeMs(response.time))}${previous === undefined ? '  totals; rates from the next one on' : '  per second'}\n`,
        );
      }
      const shown =
        watching && process.stdout.isTTY ? rows.slice(0, Math.max(1, (process.stdout.rows ?? 24) - 4)) : rows;
      if (shown.length > 0) await session.write(formatTable(columns, shown));
      if (shown.length < rows.length) await session.write(`… and ${rows.length - shown.length} more\n`);
      if (response.eventsDropped > 0n)
        process.stderr.write(`${response.eventsDropped} events were lost to full rings\n`);
      previous = response;
    }
  } catch (error) {
    unlessInterrupted(error, signal);
  }
}

function rowsOf(response: StatsResponse, previous: StatsResponse | undefined): Row[] {
  const before = new Map<string, Counters>();
  for (const service of previous?.services ?? []) {
    if (service.counters !== undefined) before.set(service.service, service.counters);
    for (const backend of service.backends) {
      if (backend.counters !== undefined) before.set(`${service.service}/${backend.backend}`, backend.counters);
    }
  }
  const seconds = previous === undefined ? 0 : ((timeMs(response.time) ?? 0) - (timeMs(previous.time) ?? 0)) / 1000;
  const rows: Row[] = [];
  for (const { service, counters, backends } of response.services) {
    if (counters !== undefined) rows.push({ name: service, now: counters, before: before.get(service), seconds });
    for (const { backend, counters: its } of backends) {
      if (its !== undefined)
        rows.push({ name: `  ${backend}`, now: its, before: before.get(`${service}/${backend}`), seconds });
    }
  }
  return rows;
}

type CounterName = Exclude<
  { [K in keyof Counters]: Counters[K] extends bigint ? K : never }[keyof Counters],
  undefined
>;

/** A total, or what it grew by per second. A new engine counts from 0: then the new total is what it grew by. */
function amount({ now, before, seconds }: Row, ...names: CounterName[]): number {
  let sum = 0;
  for (const name of names) {
    const value = now[name];
    if (before === undefined || seconds <= 0) sum += Number(value);
    else sum += Number(value >= before[name] ? value - before[name] : value) / seconds;
  }
  return sum;
}

const column = (title: string, format: (value: number) => string, ...names: CounterName[]): Column<Row> => ({
  title,
  value: (row) => format(round(amount(row, ...names))),
  align: 'right',
});

const columns: Column<Row>[] = [
  { title: 'SERVICE', value: ({ name }) => name },
  {
    title: 'ACTIVE',
    value: ({ now }) => String(now.connectionsOpened - now.connectionsClosed),
    align: 'right',
  },
  column('OPENED', count, 'connectionsOpened'),
  column('IN', bytes, 'bytesReceived'),
  column('OUT', bytes, 'bytesSent'),
  column('UDP-IN', count, 'udpPacketsReceived'),
  column('UDP-OUT', count, 'udpPacketsSent'),
  column('FAILED', count, 'connectFailures', 'noBackend'),
  column('RETRIED', count, 'connectRetries'),
  column('REJECTED', count, 'rejected', 'udpDropped'),
  column('THROTTLED', bytes, 'throttledBytes'),
  column('OVER-RATE', count, 'rateDropped', 'rateRefused'),
  column('RESET', count, 'resetsClient', 'resetsBackend'),
  { title: 'CONNECT-P50', value: (row) => quantile(row, 0.5), align: 'right' },
  { title: 'P99', value: (row) => quantile(row, 0.99), align: 'right' },
];

/** Upper bound of the power-of-two bucket that the quantile falls in. */
function quantile({ now, before }: Row, share: number): string {
  const counts = now.connectTimeUs.map((count, i) => {
    const old = before?.connectTimeUs[i] ?? 0n;
    return Number(count >= old ? count - old : count);
  });
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return '-';
  let seen = 0;
  for (const [i, count] of counts.entries()) {
    seen += count;
    if (seen >= share * total) return `<${microseconds(2 ** (i + 1))}`;
  }
  return '-';
}

function round(value: number): number {
  return value >= 10 ? Math.round(value) : Math.round(value * 10) / 10;
}
