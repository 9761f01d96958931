// SPDX-License-Identifier: Apache-2.0
/**
 * The console on this terminal over a mesh that is made up: what tests run in a terminal of their own.
 *
 *   node console-program.js [NODES SERVICES BACKENDS [MOVING]]     a state by hand; MOVING: services that change, ten times a second
 *   node console-program.js hostile ...                            the same, with names that terminals take for wider
 *   node console-program.js agents NODES SERVICES BACKENDS         simulated agents, each observed by its stream
 */
import { clearInterval, setInterval, setTimeout } from 'node:timers';
import { type AgentCalls, Fleet, type FleetState, type Reach, systemAmbient } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { openConsole } from '../ui/console.js';
import type { ConsoleFleet } from '../ui/ports.js';
import { HandFleet } from './console-harness.js';
import { changed, flow, meshState, serviceName } from './mesh-state.js';

const [kind = ''] = process.argv.slice(2);
const isOfAgents = kind === 'agents';
const isHostile = kind === 'hostile';
const numbers = process.argv.slice(isOfAgents || isHostile ? 3 : 2).map(Number);
const [nodes = 3, services = 40, backends = 3, moving = 0] = numbers;
process.on('SIGUSR2', () => {
  throw new Error('made to fail');
});
const { fleet, reach, end } = isOfAgents ? ofAgents() : byHand();
// Says which file it was given, and waits for a line.
// biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
const EDITOR = 'f() { echo "edited: ${1##*/}"; read -r line; }; f';
try {
  process.exitCode = await openConsole({
    ...{ fleet, reach, target: 'a mesh that is made up' },
    ...{ stdin: process.stdin, stdout: process.stdout, env: { ...process.env, EDITOR, VISUAL: '' } },
  });
} catch (error) {
  process.stderr.write(`error: ${(error as Error).message}\n`);
  process.exitCode = 1;
} finally {
  end();
  // As main.ts does.
  if (process.stdout.writableLength + process.stderr.writableLength > 0) setTimeout(() => process.exit(), 1_000);
}

interface Mesh {
  readonly fleet: ConsoleFleet;
  readonly reach: Reach;
  end(): void;
}

function byHand(): Mesh {
  const state = meshState({ nodes, services, backends });
  const fleet = new HandFleet(isHostile ? hostile(state) : state);
  let turn = 0;
  const timer = setInterval(() => {
    if (moving === 0) return;
    const names = Array.from({ length: moving }, (_, i) => serviceName((turn * moving + i) % services));
    turn++;
    const moved = Object.fromEntries(names.map((name, i) => [name, { flow: flow((turn + i) % 9, turn * 1_000) }]));
    fleet.set(changed(fleet.state, { services: moved, flow: flow(turn % 50, turn * 1_000) }));
  }, 100);
  const calls = {} as AgentCalls;
  return { fleet, reach: { entry: calls, node: () => calls }, end: () => clearInterval(timer) };
}

/** Flags, families and skin tones are one character of two cells here, and several of four cells or more in many a terminal. */
function hostile(state: FleetState): FleetState {
  const wide = '👩‍👩‍👧‍👦🏳️‍🌈👍🏽'.repeat(20);
  const named = [...state.services.values()].map(
    (view) => [view.name, { ...view, name: `${view.name}${wide}` }] as const,
  );
  return { ...state, services: new Map(named) };
}

function ofAgents(): Mesh {
  const ambient = systemAmbient();
  const { reach } = simulatedAgents({ nodes, services, backends, ambient });
  const fleet = new Fleet({ reach, ambient });
  fleet.start();
  return { fleet, reach, end: () => fleet.close() };
}
