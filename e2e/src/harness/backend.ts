// SPDX-License-Identifier: Apache-2.0
/** A backend process (backend-main.ts), driven from the runner. */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { BackendReady, BackendSettings, Behaviour } from './backend-main.js';
import { now, type Scope } from './scope.js';

/** Whether a TCP port is listened on in the network namespace of the process, which must be another than the backend. */
const isListening = (pid: number, port: number): boolean => {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['tcp', 'tcp6'].some((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'latin1')
      .split('\n')
      .some((line) => {
        const [, local, , state] = line.trim().split(/\s+/);
        return state === '0A' && local?.endsWith(suffix) === true;
      }),
  );
};

/** What a backend's death may cost: nothing else may be lost. */
export interface Death {
  /** Wall-clock ms of the SIGKILL, and of the moment when the kernel had closed the backend's sockets. */
  readonly from: number;
  readonly to: number;
}

export class BackendProcess {
  readonly settings: BackendSettings;
  readonly ports: BackendReady;
  readonly #child: ChildProcess;
  /** A process in the same network namespace that lives longer. */
  readonly #witness: number;

  private constructor(settings: BackendSettings, ports: BackendReady, child: ChildProcess, witness: number) {
    this.settings = settings;
    this.ports = ports;
    this.#child = child;
    this.#witness = witness;
  }

  static async start(scope: Scope, settings: BackendSettings, netns?: string): Promise<BackendProcess> {
    const script = path.join(import.meta.dirname, 'backend-main.js');
    const child = scope.spawn([process.execPath, script, JSON.stringify(settings)], {
      netns,
      ipc: true,
      log: `backend-${settings.name}.log`,
    });
    const ports = await new Promise<BackendReady>((resolve, reject) => {
      child.once('message', (message: { ready: BackendReady }) => resolve(message.ready));
      child.once('exit', (code) =>
        reject(new Error(`backend ${settings.name} ended with ${code} before it was ready`)),
      );
      child.once('error', reject);
    });
    const witness =
      netns === undefined ? process.pid : (scope.spawn(['sleep', 'infinity'], { netns, log: 'witness.log' }).pid ?? 0);
    return new BackendProcess(settings, ports, child, witness);
  }

  get name(): string {
    return this.settings.name;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get tcpAddress(): string {
    return net.isIPv6(this.settings.host)
      ? `[${this.settings.host}]:${this.ports.tcp}`
      : `${this.settings.host}:${this.ports.tcp}`;
  }

  get udpAddress(): string {
    return net.isIPv6(this.settings.host)
      ? `[${this.settings.host}]:${this.ports.udp}`
      : `${this.settings.host}:${this.ports.udp}`;
  }

  async behave(behaviour: Behaviour): Promise<void> {
    const done = new Promise<void>((resolve) => this.#child.once('message', () => resolve()));
    this.#child.send(behaviour);
    await done;
  }

  /**
   * SIGKILL. A process that is killed dies by and by, thread after thread: meanwhile the kernel still completes
   * handshakes for its listening socket. What is open on it until that is closed is lost with it whatever a layer-4
   * proxy does; so the socket is watched until then.
   */
  kill(): Death {
    const from = now();
    process.kill(this.pid, 'SIGKILL');
    while (isListening(this.#witness, this.ports.tcp)) if (now() - from > 5_000) break;
    return { from, to: now() };
  }
}
