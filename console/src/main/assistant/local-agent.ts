// SPDX-License-Identifier: Apache-2.0
/** This machine's agent: whether it answers this person, and starting it where it is installed. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { AgentError, createAgentClient, DEFAULT_TARGET, parseTarget } from '@marcher/client';
import type { LocalAgentView } from '../../ipc/assistant-contract.js';
import { ConsoleError } from '../ipc-server.js';

const ASK_MS = 3_000;
/** Systemd waits as long as this for it, and the person types a password before. */
const START_MS = 300_000;
const UNIT = 'marcherd.service';
const UNIT_DIRECTORIES = ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'];

export interface LocalMachine {
  /** As parseTarget() takes it. */
  readonly target: string;
  hasUnit(): boolean;
  readonly isRoot: boolean;
  /** Resolves with the exit code and what it said. */
  run(file: string, args: readonly string[]): Promise<{ readonly code: number; readonly said: string }>;
}

export const thisMachine: LocalMachine = {
  target: DEFAULT_TARGET,
  hasUnit: () => UNIT_DIRECTORIES.some((directory) => existsSync(`${directory}/${UNIT}`)),
  isRoot: process.geteuid?.() === 0,
  run: (file, args) =>
    new Promise((resolve, reject) => {
      const options = { timeout: START_MS, maxBuffer: 65_536 };
      execFile(file, [...args], options, (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(error);
        else resolve({ code: error === null ? 0 : Number(error.code), said: `${stderr}${stdout}`.trim() });
      });
    }),
};

/** What starts it: pkexec asks the person, in a window of the system's own. */
export function startCommand({ isRoot }: Pick<LocalMachine, 'isRoot'>): readonly [string, ...string[]] {
  const start = ['systemctl', 'start', UNIT] as const;
  return isRoot ? [...start] : ['pkexec', ...start];
}

export async function lookForAgent(machine: LocalMachine): Promise<LocalAgentView> {
  const agent = createAgentClient(parseTarget(machine.target), { connectTimeoutMs: ASK_MS });
  try {
    const { nodeName, version } = await agent.node.status({}, { timeoutMs: ASK_MS });
    const mesh = await agent.mesh.getMesh({}, { timeoutMs: ASK_MS }).then(
      (answer) => answer.mesh?.meshName ?? '',
      () => '',
    );
    const where = mesh === '' ? 'is in no mesh' : `is in mesh ${mesh}`;
    const text = `The agent of this machine answers: ${nodeName} ${where}, version ${version}.`;
    return { state: 'answers', text, nodeName, version, ...(mesh === '' ? {} : { mesh }) };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (error.code === 'denied') {
      const text = `There is an agent on this machine, and you may not use it: ${error.message}`;
      return { state: 'denied', text, command: 'sudo usermod -aG marcher "$USER"' };
    }
    if (machine.hasUnit()) {
      const text = 'The agent is installed on this machine, and does not answer.';
      return { state: 'stopped', text, command: startCommand(machine).join(' ') };
    }
    return {
      state: 'absent',
      text: 'There is no agent on this machine. A console needs none: connect to one elsewhere.',
    };
  } finally {
    agent.close();
  }
}

/** Fails as ConsoleError with what the command said. */
export async function startAgent(machine: LocalMachine): Promise<LocalAgentView> {
  const before = await lookForAgent(machine);
  if (before.state !== 'stopped') return before;
  const [file, ...args] = startCommand(machine);
  let ended: { readonly code: number; readonly said: string };
  try {
    ended = await machine.run(file, args);
  } catch (error) {
    throw new ConsoleError(`${file} can't be run: ${(error as Error).message}. Run: sudo systemctl start ${UNIT}`);
  }
  // pkexec(1): 126 dismissed, 127 not authorised.
  if (ended.code === 126) throw new ConsoleError('it was not started: nobody has allowed it');
  if (ended.code !== 0) {
    const said = ended.said.slice(-1_000) || `it ended with ${ended.code}`;
    throw new ConsoleError(`it was not started: ${said}. Its log: journalctl -u ${UNIT}`);
  }
  return await lookForAgent(machine);
}
