// SPDX-License-Identifier: Apache-2.0
/** `marcher` without a subcommand: the console, on the mesh of the agent that is the target. */
import { Fleet, type Reach, systemAmbient } from '@marcher/client/fleet';
import type { ExitCode } from '../exit-code.js';
import type { Session, TargetOptions } from '../session.js';

/** Of the first call: whoever can't be reached at all is told before the screen is taken. */
const FIRST_CALL_MS = 10_000;

export async function openConsoleOn(session: Session, options: TargetOptions): Promise<ExitCode> {
  const agent = await session.agent(options);
  await agent.node.status({}, { timeoutMs: FIRST_CALL_MS });
  const [{ openConsole }, { formatTarget }] = await Promise.all([loadConsole(), import('@marcher/client/target')]);
  // Other members through the agent that is connected, over the same connection.
  const reach: Reach = { entry: agent, node: (nodeId) => agent.throughNode(nodeId) };
  const fleet = new Fleet({ reach, ambient: systemAmbient() });
  fleet.start();
  try {
    const target = options.target ?? formatTarget(agent.target);
    return await openConsole({
      ...{ fleet, reach, target, env: process.env },
      ...{ stdin: process.stdin, stdout: process.stdout },
    });
  } finally {
    fleet.close();
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
