// SPDX-License-Identifier: Apache-2.0
/** The test's DNS server as a process, and a resolv.conf that points at it. */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { DnsSettings } from './dns-main.js';
import type { Scope } from './scope.js';

export class DnsServer {
  readonly resolvConf: string;
  readonly #child: ChildProcess;

  private constructor(resolvConf: string, child: ChildProcess) {
    this.resolvConf = resolvConf;
    this.#child = child;
  }

  static async start(scope: Scope, netns: string, records: DnsSettings['records']): Promise<DnsServer> {
    const settings: DnsSettings = { host: '127.0.0.1', port: 53, ttlSeconds: 1, records };
    const script = path.join(import.meta.dirname, 'dns-main.js');
    const child = scope.spawn([process.execPath, script, JSON.stringify(settings)], {
      netns,
      ipc: true,
      log: 'dns.log',
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`the DNS server ended with ${code} at its start`)));
    });
    const resolvConf = path.join(scope.dir, 'resolv.conf');
    writeFileSync(resolvConf, 'nameserver 127.0.0.1\noptions timeout:1 attempts:2\n');
    return new DnsServer(resolvConf, child);
  }

  async change(records: DnsSettings['records']): Promise<void> {
    const done = new Promise<void>((resolve) => this.#child.once('message', () => resolve()));
    this.#child.send(records);
    await done;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
