// SPDX-License-Identifier: Apache-2.0
/** The console on a recording, made of simulated agents and kept in a file. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fleet, Replay } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { notARecording, readRecording, recordTo } from '../cli/commands/console-recording.js';
import { bare, HandClock, settled } from '../testing/console-harness.js';
import { Controller } from './controller.js';
import { seekTime } from './desk/seek-time.js';
import type { Player } from './ports.js';
import { careful, clockOf, fleetOf, nobody, playerOf } from './replaying.js';
import { createTheme } from './theme/theme.js';

const directory = mkdtempSync(join(tmpdir(), 'marcher-recording-'));
const path = join(directory, 'a.jsonl');
let killedAtMs = 0;

beforeAll(async () => {
  const mesh = simulatedAgents({ nodes: 3, moving: 0.5 });
  const fleet = new Fleet({ reach: mesh.reach, ambient: mesh.ambient });
  const said: string[] = [];
  const now = Date.now;
  Date.now = mesh.ambient.nowMs;
  try {
    const recording = recordTo(path, fleet, (text) => said.push(text));
    fleet.start();
    await mesh.advance(20_000);
    killedAtMs = mesh.ambient.nowMs();
    mesh.agent('node02').kill();
    await mesh.advance(20_000);
    expect(recording.state()).toBe('REC');
    recording.close();
  } finally {
    Date.now = now;
    fleet.close();
  }
  expect(said).toEqual([]);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function open() {
  const clock = new HandClock();
  const said: string[] = [];
  const ambient = careful(
    { nowMs: () => clock.nowMs(), after: (ms, run) => clock.after(ms, run), random: () => 0.5 },
    (text) => said.push(text),
  );
  const replay = new Replay({ lines: readRecording(path), ambient });
  const player = playerOf(replay);
  const controller = new Controller(
    {
      ...{ fleet: fleetOf(replay, player.speedNow), reach: nobody(), player, target: path },
      clock: clockOf(replay, {
        nowMs: () => clock.nowMs(),
        steadyMs: () => clock.steadyMs(),
        after: (ms, run) => clock.after(ms, run),
      }),
      ...{ banner: () => 'RECORDED', readOnly: 'This is a recording.' },
      ...{ editor: async () => undefined, suspend: () => undefined },
    },
    createTheme({ LANG: 'C.UTF-8' }),
    { columns: 110, rows: 24 },
  );
  controller.start();
  const command = (line: string): void => {
    for (const character of `:${line}`) controller.press(character === ' ' ? 'space' : character);
    controller.press('enter');
  };
  return { clock, replay, controller, command, said, screen: () => controller.lines().map(bare).join('\n') };
}

test('it plays, is gone through, and says that it is a recording; ages are those of then', () => {
  const { replay, controller, command, clock, screen } = open();
  command('nodes');
  expect(screen()).toContain('RECORDED');
  expect(screen()).not.toContain('read-only');
  command('seek end');
  expect(screen()).toMatch(/2 of 3 nodes; 1 stale for 2\ds/);
  command('seek start');
  command('seek +15s');
  expect(screen()).toMatch(/3 nodes +PAUSED/);
  controller.press('p');
  clock.pass(10_000);
  expect(replay.positionMs).toBeGreaterThan(killedAtMs);
  expect(screen()).toMatch(/2 of 3 nodes/);
  controller.press('p');
  controller.press('[');
  controller.press('[');
  expect(replay.positionMs).toBeLessThan(killedAtMs);
  expect(screen()).toMatch(/3 nodes +PAUSED/);
  command('speed 10');
  expect(screen()).toContain('10 times as fast');
  command('seek noon');
  expect(screen()).toContain('"noon" is no time');
});

test('nobody is asked, and nothing can be changed', async () => {
  const { command, controller, clock, screen } = open();
  command('seek +10s');
  for (const view of ['logs', 'users', 'connections', 'history']) {
    command(view);
    await settled();
    clock.pass(300);
    expect(screen(), view).toContain('this is not in a recording');
  }
  command('unlock');
  expect(screen()).toContain('This is a recording.');
  command('nodes');
  controller.press('d');
  expect(screen()).not.toContain('Drain node');
});

test('it is written for its owner alone, and over nothing', () => {
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const { reach, ambient } = simulatedAgents({ nodes: 1 });
  const fleet = new Fleet({ reach, ambient });
  expect(() => recordTo(path, fleet, () => undefined)).toThrow(/there is one already/);
  expect(() => recordTo(join(directory, 'no', 'where'), fleet, () => undefined)).toThrow(/is not used/);
  expect(() => readRecording(join(directory, 'absent'))).toThrow(/is not used/);
});

test('a line that can not be read is said, and does not end it', () => {
  const [head = '', ...rest] = readRecording(path);
  writeFileSync(
    `${path}.bad`,
    [head, ...rest.slice(0, 10), `{"t":${Number(JSON.parse(head).t) + 1},"node":7}`].join('\n'),
  );
  const clock = new HandClock();
  const said: string[] = [];
  const ambient = careful(
    { nowMs: () => clock.nowMs(), after: (ms, run) => clock.after(ms, run), random: () => 0.5 },
    (text) => said.push(text),
  );
  const replay = new Replay({ lines: readRecording(`${path}.bad`), ambient });
  replay.play(1);
  clock.pass(5_000);
  expect(said).toEqual([expect.stringContaining('names no node')]);
  expect(notARecording(path, new Error('x')).message).toContain("can't be shown");
});

test('a time of the day is one within the recording', () => {
  const startMs = new Date(2026, 10, 22, 23, 50, 0).getTime();
  const player = { startMs, endMs: startMs + 1_200_000, positionMs: startMs + 60_000 } as Player;
  expect(seekTime('23:55', player)).toBe(startMs + 300_000);
  expect(seekTime('0:05:30', player)).toBe(startMs + 930_000);
  expect(seekTime('-30s', player)).toBe(startMs + 30_000);
  expect(() => seekTime('12:00', player)).toThrow('not in this recording');
});
