// SPDX-License-Identifier: Apache-2.0
import { AgentError } from '@marcher/client/fleet';
import { StreamLimitReached, simulatedAgents } from '@marcher/client/testing';
import { expect, test } from 'vitest';

import { LogFeed } from './log-feed.js';

function following(keptMax?: number) {
  const mesh = simulatedAgents({ nodes: 2, services: 4, moving: 1 });
  const nodes = mesh.agents.map((agent) => ({ key: agent.id, calls: agent.calls() }));
  const feed = new LogFeed({
    ambient: mesh.ambient,
    service: '',
    nodes,
    ...(keptMax === undefined ? {} : { keptMax }),
  });
  feed.start();
  return { mesh, feed };
}

test('a log that ends is said to, asked for again, and what was known is not told twice', async () => {
  const { mesh, feed } = following();
  await mesh.advance(5_000);
  const [, other] = mesh.agents;
  other?.kill();
  await mesh.advance(2_000);
  expect(feed.lines().find(({ note }) => note !== '')).toMatchObject({ node: other?.id });
  other?.start();
  await mesh.advance(10_000);
  const times = feed
    .lines()
    .flatMap(({ node, entry, atMs }) => (node === other?.id && entry !== undefined ? [atMs] : []));
  expect(new Set(times).size).toBe(times.length);
  expect(Math.max(...times)).toBeGreaterThan(mesh.ambient.nowMs() - 4_000);
  feed.close();
});

test('of a log without end the newest lines are kept', async () => {
  const { mesh, feed } = following(50);
  await mesh.advance(120_000);
  const lines = feed.lines();
  expect(lines).toHaveLength(50);
  expect(lines.at(-1)?.serial).toBe(feed.serial);
  feed.close();
  await mesh.advance(10_000);
  expect(lines.at(-1)?.serial).toBe(feed.serial);
});

test('a stream that this side has ended goes on without a word', async () => {
  const mesh = simulatedAgents({ nodes: 1, services: 4, moving: 1 });
  const calls = mesh.entry.calls();
  let streams = 0;
  async function* logs(...parameters: Parameters<typeof calls.traffic.logs>) {
    const isFirst = streams++ === 0;
    let told = 0;
    for await (const response of calls.traffic.logs(...parameters)) {
      if (isFirst && ++told > 103) throw new AgentError('unavailable', 'open it again', [], new StreamLimitReached(1));
      yield response;
    }
  }
  const traffic = { ...calls.traffic, logs };
  const nodes = [{ key: mesh.entry.id, calls: { ...calls, traffic } }];
  const feed = new LogFeed({ ambient: mesh.ambient, service: '', nodes });
  feed.start();
  await mesh.advance(15_000);
  expect(streams).toBe(2);
  const lines = feed.lines();
  expect(lines.every(({ note }) => note === '')).toBe(true);
  expect(new Set(lines.map(({ atMs }) => atMs)).size).toBe(lines.length);
  expect(lines.length).toBeGreaterThan(108);
  feed.close();
});
