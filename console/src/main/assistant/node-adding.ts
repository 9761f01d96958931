// SPDX-License-Identifier: Apache-2.0
/**
 * The one node that is being added, for the page: the machine that was looked at, then each step, then that it stays or is taken back.
 * The page asks for what comes after what it has seen, so one that has begun anew finds it as it is.
 *
 *   none ──look──▶ looked ──add──▶ adding ──keep, or everything is taken back──▶ none
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentClient } from '@marcher/client';
import {
  type Archive,
  checkPlan,
  type Layout,
  type Looked,
  lookAt,
  mayUndo,
  type Progress,
  Provision,
  portsOf,
  privilegeOf,
  type Runner,
  STEP_TITLES,
} from '@marcher/client/provision';
import { type Questions, RemoteShell } from '@marcher/client/ssh';
import { formatTarget, type SshTarget } from '@marcher/client/target';
import type { MachineChoice, MachineView, ProgressView } from '../../ipc/assistant-contract.js';
import { ConsoleError, type IpcLogger } from '../ipc-server.js';

export interface AddingParts {
  readonly ask: Questions;
  /** A connection to the entry agent of that mesh, closed by whoever asked. */
  agentOf(mesh: string): AgentClient;
  archives(): readonly Archive[];
  readonly layout: Layout;
  readonly runner: Runner;
  readonly logger: IpcLogger;
  /** Tests have a sshd of their own. */
  readonly shellTo?: (target: SshTarget, ask: Questions, identityFile: string | undefined) => RemoteShell;
}

interface Ground {
  readonly choice: MachineChoice;
  readonly shell: RemoteShell;
  readonly agent: AgentClient;
  readonly looked: Looked;
}

interface Adding extends Ground {
  readonly nodeName: string;
  readonly provision: Provision;
  readonly abort: AbortController;
}

const MIB = 2 ** 20;

export class NodeAdding {
  readonly #parts: AddingParts;
  #ground: Ground | undefined;
  #adding: Adding | undefined;
  #isLooking = false;
  #revision = 0;
  #waiting: (() => void)[] = [];

  constructor(parts: AddingParts) {
    this.#parts = parts;
  }

  /** Fails as ConsoleError or AgentError. */
  async look(choice: MachineChoice): Promise<MachineView> {
    if (this.#isLooking) throw new ConsoleError('a machine is being looked at: wait for that');
    if (this.#isBusy()) throw new ConsoleError('a node is being added: let that end first');
    this.#leave();
    const { ask, agentOf, archives, layout, runner, shellTo } = this.#parts;
    const { mesh, host, port, user, identityFile, meshPort } = choice;
    const target: SshTarget = {
      kind: 'ssh',
      host,
      path: layout.socket,
      ...(port === undefined ? {} : { port }),
      ...(user === undefined ? {} : { user }),
    };
    const shell =
      shellTo?.(target, ask, identityFile) ??
      new RemoteShell(target, { ask, ...(identityFile === undefined ? {} : { identityFile }) });
    this.#isLooking = true;
    let agent: AgentClient | undefined;
    try {
      agent = agentOf(mesh);
      const ports = [meshPort, meshPort + 1];
      const looked = await lookAt({ machine: shell, agent, layout, archives: archives(), runner, ports });
      this.#ground = { choice, shell, agent, looked };
      return viewOf(looked, choice, formatTarget(target));
    } catch (error) {
      agent?.close();
      shell.close();
      throw error;
    } finally {
      this.#isLooking = false;
    }
  }

  /** Begins. Fails as ConsoleError or AgentError where it can't. */
  add({ nodeName, meshAddress }: { readonly nodeName: string; readonly meshAddress: string }): void {
    const ground = this.#ground;
    if (this.#isBusy()) throw new ConsoleError('a node is being added: let that end first');
    if (ground === undefined) throw new ConsoleError('look at the machine first');
    const { looked, choice, shell, agent } = ground;
    const stop = looked.findings.find(({ severity }) => severity === 'stop');
    const { archive, facts } = looked;
    if (stop !== undefined || archive === undefined) throw new ConsoleError(`it can't be added: ${stop?.text ?? ''}`);
    checkPlan({ nodeName, meshAddress });
    const [port] = portsOf(meshAddress);
    if (port !== choice.meshPort) throw new ConsoleError(`port ${port} was not looked at: look again with that port`);
    const { layout, runner, logger } = this.#parts;
    const plan = { nodeName, meshAddress, archive, layout };
    const privilege = runner.hasAccount ? privilegeOf(facts) : 'none';
    const pause = async (ms: number, signal: AbortSignal | undefined): Promise<void> => {
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
    };
    const provision = new Provision({ plan, machine: shell, privilege, runner, agent, pause }, () => this.#changed());
    const abort = new AbortController();
    this.#ground = undefined;
    this.#adding = { ...ground, nodeName, provision, abort };
    this.#changed();
    provision
      .run(abort.signal)
      .then(({ phase }) => logger.warn({ node: nodeName, host: choice.host, phase }, 'a node was added'))
      .catch((error: Error) => logger.error({ error: error.stack }, 'adding a node has failed within the console'));
  }

  stop(): void {
    this.#adding?.abort.abort(new Error('stopped by the person'));
  }

  /** Begins. */
  undo(): void {
    const adding = this.#adding;
    if (adding === undefined || !mayUndo(adding.provision.progress)) {
      throw new ConsoleError('there is nothing to take back now');
    }
    adding.provision
      .undo()
      .then(({ phase }) => {
        this.#parts.logger.warn({ node: adding.nodeName, host: adding.choice.host, phase }, 'adding a node was undone');
        if (phase === 'undone') this.#end(adding);
      })
      .catch((error: Error) =>
        this.#parts.logger.error({ error: error.stack }, 'undoing has failed within the console'),
      );
  }

  async keep(): Promise<void> {
    const adding = this.#adding;
    if (adding?.provision.progress.phase !== 'done') throw new ConsoleError('there is no node that was added');
    await adding.provision.keep();
    this.#end(adding);
  }

  /** What is so, once it is newer than that. */
  async progress(after: number): Promise<ProgressView> {
    if (this.#revision <= after) {
      await new Promise<void>((resolve) => {
        // Pages that have gone are told as well, which costs nothing.
        this.#waiting = [...this.#waiting.slice(-7), resolve];
      });
    }
    const adding = this.#adding;
    const { phase, steps } = adding?.provision.progress ?? { phase: 'none' as const, steps: [] };
    return {
      revision: this.#revision,
      phase,
      nodeName: adding?.nodeName ?? '',
      host: adding?.choice.host ?? '',
      steps: steps.map((step) => ({ ...step, lines: [...step.lines], title: STEP_TITLES[step.name] })),
    };
  }

  /** What is under way stays as it is there, with its journal. */
  close(): void {
    this.stop();
    this.#leave();
    if (this.#adding !== undefined) this.#end(this.#adding);
  }

  #isBusy(): boolean {
    const phase: Progress['phase'] | undefined = this.#adding?.provision.progress.phase;
    return phase !== undefined && phase !== 'kept' && phase !== 'undone';
  }

  #end(adding: Adding): void {
    adding.agent.close();
    adding.shell.close();
  }

  #leave(): void {
    this.#ground?.agent.close();
    this.#ground?.shell.close();
    this.#ground = undefined;
  }

  #changed(): void {
    this.#revision++;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const told of waiting) told();
  }
}

function viewOf({ facts, findings, archive }: Looked, { meshPort }: MachineChoice, where: string): MachineView {
  const privilege = { root: 'root', sudo: 'with sudo', none: 'without root' }[privilegeOf(facts)];
  const address = facts.address.includes(':') ? `[${facts.address}]` : facts.address;
  return {
    facts: [
      ['Machine', `${facts.hostName} (${where})`],
      ['System', `${facts.distribution || facts.system}, kernel ${facts.kernel}, ${facts.architecture}`],
      ['C library', facts.glibc === '' ? 'not glibc' : `glibc ${facts.glibc}`],
      ['Service manager', facts.hasSystemd ? 'systemd' : 'not systemd'],
      ['Logged in', privilege],
      ['Free disk', `${Math.floor(facts.freeBytes / MIB)} MiB`],
      ['Memory', `${Math.floor(facts.memoryBytes / MIB)} MiB`],
    ],
    findings: findings.map((each) => ({ ...each })),
    nodeName: facts.hostName,
    meshAddress: facts.address === '' ? '' : `${address}:${meshPort}`,
    archive:
      archive === undefined
        ? ''
        : `Marcher ${archive.version} for ${archive.architecture}, ${Math.ceil(archive.bytes / MIB)} MiB`,
  };
}
