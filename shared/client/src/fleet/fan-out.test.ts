// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type LogsResponse, LogsResponseSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { expect, test } from 'vitest';
import { SimulatedClock, simulatedAgents } from '../testing/index.js';
import type { AgentCalls } from './contract.js';
import { type FannedNode, type LogsOptions, type MergedLog, mergedConnections, mergedLogs } from './fan-out.js';

const line = (atMs: number, message: string): LogsResponse =>
  create(LogsResponseSchema, { entry: { time: timestampFromMs(atMs), message } });

/** A node whose log a test writes. */
function node(key: string, logs: () => AsyncIterable<LogsResponse>): FannedNode {
  return { key, calls: { traffic: { logs } } as unknown as AgentCalls };
}

async function* listed(...lines: LogsResponse[]): AsyncIterable<LogsResponse> {
  yield* lines;
}

function said(log: MergedLog): string {
  if (log.kind === 'entry') return `${log.node}: ${log.entry.message}`;
  return log.kind === 'failed' ? `${log.node} failed: ${log.reason}` : `${log.node} dropped ${log.count}`;
}

async function all(options: Omit<LogsOptions, 'ambient'>): Promise<string[]> {
  const texts: string[] = [];
  for await (const log of mergedLogs({ ambient: new SimulatedClock(), ...options })) texts.push(said(log));
  return texts;
}

test('logs of several nodes come by time, and a node that fails says so beside them', async () => {
  const nodes = [
    node('a', () => listed(line(1, 'one'), line(4, 'four'))),
    node('b', async function* () {
      yield line(2, 'two');
      yield create(LogsResponseSchema, { dropped: 5n, entry: { time: timestampFromMs(3), message: 'three' } });
      throw new Error('gone\u001b[2J');
    }),
  ];
  expect(await all({ nodes })).toEqual([
    'a: one',
    'b: two',
    'b dropped 5',
    'b: three',
    'a: four',
    'b failed: gone\ufffd[2J',
  ]);
});

test('what is followed waits for its window, and no longer', async () => {
  const clock = new SimulatedClock();
  let late = (_: LogsResponse): void => {};
  const nodes = [
    node('a', async function* () {
      yield line(10, 'ten');
      await new Promise(() => {});
    }),
    node('b', async function* () {
      yield await new Promise<LogsResponse>((resolve) => {
        late = resolve;
      });
      await new Promise(() => {});
    }),
  ];
  const texts: string[] = [];
  const stop = new AbortController();
  const reading = (async () => {
    for await (const log of mergedLogs({ nodes, ambient: clock, follow: true, signal: stop.signal }))
      texts.push(said(log));
  })();
  await clock.advance(900);
  expect(texts).toEqual([]);
  late(line(5, 'five'));
  await clock.advance(1_100);
  expect(texts).toEqual(['b: five', 'a: ten']);
  stop.abort();
  await reading;
});

test('entries that nobody takes keep nodes waiting', async () => {
  let given = 0;
  const endless = node('a', async function* () {
    for (;;) yield line(++given, 'x');
  });
  const logs = mergedLogs({ nodes: [endless], ambient: new SimulatedClock(), waitingMax: 100 })[Symbol.asyncIterator]();
  for (let taken = 0; taken < 500; taken++) await logs.next();
  expect(given).toBeLessThan(700);
  await logs.return?.();
});

test('simulated agents: one that is killed while its log is read is told apart', async () => {
  const mesh = simulatedAgents({ nodes: 3 });
  const nodes = mesh.agents.map((agent) => ({ key: agent.name, calls: agent.calls() }));
  const texts: string[] = [];
  const stop = new AbortController();
  const reading = (async () => {
    const options = { nodes, ambient: mesh.ambient, follow: true, tail: 2, signal: stop.signal };
    for await (const log of mergedLogs(options)) texts.push(log.kind === 'failed' ? `${log.node} failed` : log.node);
  })();
  await mesh.advance(2_500);
  mesh.agent('node02').kill();
  await mesh.advance(3_000);
  expect(texts.filter((text) => text === 'node01').length).toBeGreaterThanOrEqual(5);
  expect(texts.filter((text) => text.includes('failed'))).toEqual(['node02 failed']);
  stop.abort();
  await reading;
});

test('connections of all nodes, the newest, with who has not answered', async () => {
  const mesh = simulatedAgents({ nodes: 3, moving: 1 });
  mesh.agent('node03').kill();
  await mesh.advance(5_000);
  const nodes = mesh.agents.map((agent) => ({ key: agent.name, calls: agent.calls() }));
  const { connections, total, failed } = await mergedConnections({ nodes, limit: 7 });
  expect(connections).toHaveLength(7);
  expect(total).toBeGreaterThan(7n);
  const times = connections.map(
    ({ connection }) => Number(connection.opened?.seconds) * 1e9 + Number(connection.opened?.nanos),
  );
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  expect([...failed]).toEqual([['node03', 'nobody listens at node03']]);
});
