// SPDX-License-Identifier: Apache-2.0
/** What is written to a terminal, byte by byte, through Ink. */
import { setTimeout } from 'node:timers/promises';
import type { AgentCalls } from '@marcher/client/fleet';
import { afterEach, expect, test } from 'vitest';
import { HandClock, HandFleet } from '../testing/console-harness.js';
import { FakeInput, FakeOutput } from '../testing/fake-terminal.js';
import { changed, flow, meshState, serviceName } from '../testing/mesh-state.js';
import { openConsole } from './console.js';

interface Opened {
  readonly fleet: HandFleet;
  readonly clock: HandClock;
  readonly input: FakeInput;
  readonly output: FakeOutput;
  readonly ended: Promise<number>;
  /** What has been written since the last time, with this in it; without: after longer than two frames. */
  news(expected?: string): Promise<string>;
}

const opened: Opened[] = [];

/** With the first frame written. */
async function open(services: number): Promise<Opened> {
  const fleet = new HandFleet(meshState({ nodes: 3, services, backends: 1 }));
  const clock = new HandClock();
  const input = new FakeInput();
  const output = new FakeOutput();
  const calls = {} as AgentCalls;
  const ended = openConsole({
    ...{ fleet, clock, reach: { entry: calls, node: () => calls }, target: 'local' },
    ...{
      stdin: input as unknown as NodeJS.ReadStream,
      stdout: output as unknown as NodeJS.WriteStream,
      env: { LANG: 'C.UTF-8' },
    },
  });
  const made: Opened = {
    ...{ fleet, clock, input, output, ended },
    async news(expected = '') {
      while (!output.written.includes(expected)) await setTimeout(1);
      await setTimeout(40);
      const { written } = output;
      output.written = '';
      return written;
    },
  };
  opened.push(made);
  while (!output.written.includes(' Marcher ')) await setTimeout(1);
  return made;
}

afterEach(async () => {
  for (const { input, ended } of opened.splice(0)) {
    input.type('\u0003');
    await ended;
  }
});

test('no byte is written while nothing changes, although states and seconds pass', async () => {
  const { news, fleet, clock, input } = await open(50);
  input.type(':svc\r');
  await news('web-0020');
  for (let i = 0; i < 5; i++) {
    fleet.set(changed(fleet.state, {}));
    // A service that is not on the screen.
    fleet.set(changed(fleet.state, { services: { [serviceName(49)]: { flow: flow(i, i) } } }));
    clock.pass(1_000);
  }
  expect(await news()).toBe('');
});

test('of a row that changes that row is written, and no other', async () => {
  const { news, fleet, input } = await open(50);
  input.type(':svc\r');
  await news('web-0020');
  fleet.set(changed(fleet.state, { services: { [serviceName(3)]: { flow: flow(5) } } }));
  const written = await news('5');
  expect(written.length).toBeLessThan(300);
  expect(written).not.toContain('web-0004');
});

test('the alternate screen is entered, and left once at the end: nothing is written behind', async () => {
  const { input, output, ended, news } = await open(5);
  expect((await news()).startsWith('\u001b[?1049h\u001b[?7l\u001b[?2004h\u001b[?25l')).toBe(true);
  input.type('q');
  expect(await ended).toBe(0);
  await setTimeout(40);
  expect(output.written.endsWith('\u001b[?25h\u001b[?1049l')).toBe(true);
  expect(output.written.split('\u001b[?1049l')).toHaveLength(2);
  expect(input.isRaw).toBe(false);
});

test('keys that come together are keys one after the other', async () => {
  const { input, news } = await open(50);
  input.type(':svc\rjjj');
  expect(await news('web-0003')).toMatch(/>\s+web-0003/);
});

test('control keys among them are no text', async () => {
  const { input, news } = await open(50);
  input.type(':svc\r');
  await news('web-0020');
  input.type('/web-0001\u0015web-0007x\u007f\r');
  const written = await news('/web-0007');
  expect(written).toMatch(/1\/1 of 50/);
});

test('another size wipes the screen and writes it whole', async () => {
  const { input, output, news } = await open(50);
  input.type(':svc\r');
  await news('web-0020');
  output.columns = 60;
  output.rows = 12;
  output.emit('resize');
  const written = await news('60x12');
  expect(written).toContain('\u001b[H\u001b[2J');
  expect(written.match(/ Marcher /g)).toHaveLength(1);
  expect(written).toContain('60x12');
});

test('a terminal that is not read gets nothing more, and then the picture as it is by then, once', async () => {
  const { input, output, news, fleet } = await open(50);
  input.type(':svc\r');
  await news('web-0020');
  output.takes = false;
  for (let i = 1; i <= 50; i++) {
    fleet.set(changed(fleet.state, { services: { [serviceName(3)]: { flow: flow(i) } } }));
    await setTimeout(2);
  }
  const piled = await news();
  expect(piled.length).toBeLessThan(1_000);
  output.takes = true;
  output.emit('drain');
  const written = await news('web-0020');
  expect(written).toContain('\u001b[H\u001b[2J');
  expect(written.match(/ Marcher /g)).toHaveLength(1);
  expect(written).toMatch(/web-0003.* 50 /);
  expect(written.length).toBeLessThan(20_000);
});
