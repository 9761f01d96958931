// SPDX-License-Identifier: Apache-2.0
/** `marcher` without a subcommand: the console, on the mesh of the agent that is the target. */
import type { AgentClient, SessionTokenSource } from '@marcher/client';
import { type Ambient, Fleet, type Reach, Replay, systemAmbient } from '@marcher/client/fleet';
import type { ConsoleSession } from '../../ui/ports.js';
import { type ChosenTarget, chooseTarget } from '../chosen-target.js';
import type { ConsoleArguments } from '../console-arguments.js';
import { consoleSession } from '../console-session.js';
import type { ExitCode } from '../exit-code.js';
import { openAgent } from '../opened-agent.js';
import { keepHeapSmall } from '../small-heap.js';
import { takesLogin } from '../stored-session.js';
import { notARecording, readRecording, recordTo } from './console-recording.js';

const CONNECT_MS = 5_000;
/** Of the first call: whoever can't be reached at all is told before the screen is taken. */
const FIRST_CALL_MS = 10_000;

export async function openConsoleOn(options: ConsoleArguments): Promise<ExitCode> {
  if (options.replay !== undefined) return await openReplay(options.replay);
  const chosen = await chooseTarget(options, process.env);
  const { agent, source } = await opened(chosen);
  try {
    return await onMesh(agent, options, source === undefined ? undefined : consoleSession(chosen, source, process.env));
  } finally {
    agent.close();
  }
}

interface Opened {
  readonly agent: AgentClient;
  /** undefined: it is let in by something else than a session. */
  readonly source: SessionTokenSource | undefined;
}

/** Has answered, but where somebody has to log in first: the console asks for that. Fails as AgentError or Failure. */
async function opened(chosen: ChosenTarget): Promise<Opened> {
  try {
    const known = await connected(chosen, true);
    try {
      await known.agent.node.status({}, { timeoutMs: FIRST_CALL_MS });
      return known;
    } catch (error) {
      known.agent.close();
      throw error;
    }
  } catch (error) {
    const { name, code } = error as Error & { readonly code?: string };
    if (name !== 'AgentError' || code !== 'denied' || !takesLogin(chosen)) throw error;
    const { session: _over, ...rest } = chosen;
    return await connected(rest, false);
  }
}

async function connected(chosen: ChosenTarget, asks: boolean): Promise<Opened> {
  let source: SessionTokenSource | undefined;
  const onSession = (given: SessionTokenSource): void => {
    source = given;
  };
  const agent = await openAgent({ ...chosen, onSession }, process.env, CONNECT_MS, asks);
  return { agent, source };
}

async function onMesh(
  agent: AgentClient,
  options: ConsoleArguments,
  session: ConsoleSession | undefined,
): Promise<ExitCode> {
  keepHeapSmall();
  const [{ openConsole }, { formatTarget }] = await Promise.all([loadConsole(), import('@marcher/client/target')]);
  // Other members through the agent that is connected, over the same connection.
  const reach: Reach = { entry: agent, node: (nodeId) => agent.throughNode(nodeId) };
  const fleet = new Fleet({ reach, ambient: systemAmbient() });
  let complain = (text: string): void => void process.stderr.write(`${text}\n`);
  // Whatever keeps it from being recorded is told before the screen is taken.
  const recording =
    options.record === undefined ? undefined : recordTo(options.record, fleet, (text) => complain(text));
  fleet.start();
  try {
    const target = options.target ?? formatTarget(agent.target);
    return await openConsole({
      ...{ fleet, reach, target, env: process.env },
      ...{ stdin: process.stdin, stdout: process.stdout },
      ...(session === undefined ? {} : { session }),
      ...(recording === undefined ? {} : { banner: recording.state }),
      onOpen: (say) => {
        complain = say;
      },
    });
  } finally {
    recording?.close();
    fleet.close();
  }
}

async function openReplay(path: string): Promise<ExitCode> {
  const [{ openConsole, systemClock }, { careful, clockOf, fleetOf, nobody, playerOf }] = await Promise.all([
    loadConsole(),
    import('../../ui/replaying.js'),
  ]);
  let complain = (_text: string): void => undefined;
  const ambient = careful(systemAmbient(), (text) => complain(text));
  const replay = replayOf(path, ambient);
  const player = playerOf(replay);
  replay.play(1);
  try {
    return await openConsole({
      ...{ fleet: fleetOf(replay, player.speedNow), reach: nobody(), clock: clockOf(replay, systemClock) },
      ...{ target: path, env: process.env, stdin: process.stdin, stdout: process.stdout, player },
      onOpen: (say) => {
        complain = say;
      },
    });
  } finally {
    replay.close();
  }
}

function replayOf(path: string, ambient: Ambient): Replay {
  const lines = readRecording(path);
  try {
    return new Replay({ lines, ambient });
  } catch (error) {
    throw notARecording(path, error);
  }
}

/** React says what is wrong with components unless it is told otherwise when it is loaded, which costs a third of a frame. */
async function loadConsole(): Promise<typeof import('../../ui/console.js')> {
  const before = process.env['NODE_ENV'];
  process.env['NODE_ENV'] = 'production';
  try {
    return await import('../../ui/console.js');
  } finally {
    if (before === undefined) delete process.env['NODE_ENV'];
    else process.env['NODE_ENV'] = before;
  }
}
