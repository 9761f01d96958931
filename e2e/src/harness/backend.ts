/** A backend process (backend-main.ts), driven from the runner. */
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { BackendReady, BackendSettings, Behaviour } from './backend-main.js';
import type { Scope } from './scope.js';

/** Rows of /proc/<pid>/net/tcp{,6} (the process's own namespace) that are open on a local port. */
const openOn = (pid: number, port: number): number => {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  let rows = 0;
  for (const table of ['tcp', 'tcp6']) {
    const file = `/proc/${pid}/net/${table}`;
    if (!existsSync(file)) continue;
    for (const line of readFileSync(file, 'latin1').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      // 01 established, 03 in the handshake, 04/05 our end closed, 08 the peer's end closed.
      const open = ['01', '03', '04', '05', '08'].includes(fields[3] ?? '');
      if (open && fields[1]?.endsWith(`:${hexPort}`)) rows += 1;
    }
  }
  return rows;
};

export class BackendProcess {
  readonly settings: BackendSettings;
  readonly ports: BackendReady;
  readonly #child: ChildProcess;

  private constructor(settings: BackendSettings, ports: BackendReady, child: ChildProcess) {
    this.settings = settings;
    this.ports = ports;
    this.#child = child;
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
    return new BackendProcess(settings, ports, child);
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
   * SIGKILL. Hands back how many TCP connections the kernel had open on the backend in the instant before: these are
   * lost with it whatever a layer-4 proxy does, and no others may be.
   */
  kill(): { readonly openConnections: number } {
    const openConnections = openOn(this.pid, this.ports.tcp);
    process.kill(this.pid, 'SIGKILL');
    return { openConnections };
  }
}
