// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { SimulatedClock, simulatedAgents } from '../../testing/index.js';
import type { FleetState, ServiceView } from '../contract.js';
import { Fleet } from '../fleet.js';
import { record } from './recorder.js';
import { parseLine, RecordingError } from './recording-line.js';
import { Replay } from './replay.js';

/** What a console shows, but for what depends on when it was published. */
function shown({ mesh, nodes, services, backends, coverage, configurations }: FleetState): unknown {
  return {
    mesh,
    coverage,
    configurations,
    nodes: [...nodes.values()].map(({ history: _, heardMs: _heard, link, ...node }) => ({ ...node, link: link.kind })),
    services: [...services.values()]
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ history: _, ...view }) => ({ ...view, ...byNode(view) })),
    backends: [...backends.values()]
      .toSorted((a, b) => (a.key < b.key ? -1 : 1))
      .map((view) => ({ ...view, nodes: new Map(view.nodes) })),
  };
}

function byNode({ nodes, tiers, flows }: Pick<ServiceView, 'nodes' | 'tiers' | 'flows'>) {
  return { nodes: new Map(nodes), tiers: new Map(tiers), flows: new Map(flows) };
}

async function recorded(charactersMax?: number) {
  const mesh = simulatedAgents({ nodes: 3, moving: 0.5 });
  const fleet = new Fleet({ reach: mesh.reach, ambient: mesh.ambient });
  fleet.start();
  await mesh.advance(2_000);
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line.trimEnd());
  const options = { fleet, nowMs: mesh.ambient.nowMs, write };
  const recording = record(charactersMax === undefined ? options : { ...options, charactersMax });
  const states: { readonly atMs: number; readonly shown: unknown }[] = [];
  const note = (): void => {
    // Publishes what has come until now.
    fleet.pause();
    fleet.resume();
    states.push({ atMs: mesh.ambient.nowMs(), shown: shown(fleet.state) });
  };
  await mesh.advance(3_000);
  note();
  // What comes at the same time is part of it.
  await mesh.advance(1);
  mesh.agent('node02').kill();
  await mesh.reach.entry.config.apply({ change: { remove: ['service-0003'] } });
  await mesh.advance(4_000);
  note();
  await mesh.advance(1);
  mesh.remove('node03');
  await mesh.advance(4_000);
  note();
  recording.stop();
  fleet.close();
  return { lines, states, recording };
}

test('a recording that was begun at any time shows at each moment what was shown then, forth and back', async () => {
  const { lines, states } = await recorded();
  const replay = new Replay({ lines, ambient: new SimulatedClock() });
  for (const at of [2, 0, 1, 0, 2]) {
    const state = states[at];
    replay.seek(state?.atMs ?? 0);
    expect(shown(replay.state)).toEqual(state?.shown);
  }
  expect(replay.state.paused).toBe(true);
});

test('it plays at a speed, and stops at the end', async () => {
  const { lines, states } = await recorded();
  const clock = new SimulatedClock();
  const replay = new Replay({ lines, ambient: clock });
  const revisions: number[] = [];
  replay.subscribe(({ revision }) => revisions.push(revision));
  replay.play(4);
  await clock.advance(1_000);
  expect(replay.positionMs - replay.startMs).toBe(4_000);
  expect(replay.state.paused).toBe(false);
  await clock.advance(10_000);
  expect(replay.isPlaying).toBe(false);
  expect(replay.positionMs).toBe(replay.endMs);
  expect(replay.state.paused).toBe(true);
  expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
  expect(shown(replay.state)).toEqual(states[2]?.shown);
});

test('a recording ends when it is as long as it may be, and can be played', async () => {
  const { lines, recording } = await recorded(20_000);
  expect(recording.isFull).toBe(true);
  expect(recording.characters).toBeLessThanOrEqual(20_000);
  expect(lines.at(-1)).toContain('"end":"full"');
  expect(new Replay({ lines, ambient: new SimulatedClock() }).state.nodes.size).toBeGreaterThan(0);
});

test.each([
  ['', 'is not JSON'],
  ['[]', 'has no time'],
  ['{"t":1}', 'names no node'],
  ['{"t":1,"marcher":"recording/v9"}', 'is of "recording/v9"'],
  ['{"t":1,"node":"a","link":{"kind":"great","sinceMs":1}}', 'has no link'],
  ['{"t":1,"node":"a","batch":{"objects":7}}', "can't be read"],
  ['{"t":1,"node":"a"}', "can't be read"],
])('a line that is none: %s', (text, reason) => {
  expect(() => parseLine(text, 7)).toThrow(RecordingError);
  expect(() => parseLine(text, 7)).toThrow(reason);
});

test('what is no recording, or too large, is refused', () => {
  const ambient = new SimulatedClock();
  for (const lines of [[], ['hello'], ['{"t":1,"node":"a","gone":true}']]) {
    expect(() => new Replay({ lines, ambient })).toThrow(RecordingError);
  }
  const long = ['{"t":1,"marcher":"recording/v1"}', '{"t":2,"node":"a","gone":true}'];
  expect(() => new Replay({ lines: long, ambient, charactersMax: 40 })).toThrow('more than 40');
});
