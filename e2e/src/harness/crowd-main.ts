// SPDX-License-Identifier: Apache-2.0
/** Opens many connections from many addresses, keeps them for a while, and prints what became of them. */
import net from 'node:net';
import tls from 'node:tls';

export interface CrowdSettings {
  readonly host: string;
  readonly port: number;
  /** silent: says nothing. half: begins a TLS record and stops. stranger: TLS, without a certificate. */
  readonly kind: 'silent' | 'half' | 'stranger';
  readonly connections: number;
  /** Connections a second. */
  readonly rate: number;
  /** That they come from, in turn; of this machine. */
  readonly sources: readonly string[];
  /** After all are connected. */
  readonly holdMs: number;
}

export interface CrowdCounts {
  readonly connected: number;
  /** TLS handshakes that were over. */
  readonly shaken: number;
  /** Of connected: that the other side has ended. */
  readonly ended: number;
  readonly failed: number;
  readonly seconds: number;
}

const settings = JSON.parse(process.argv[2] ?? '') as CrowdSettings;
const { host, port, kind, connections, rate, sources, holdMs } = settings;
const EVERY_MS = 10;
/**
 * For those whose first packet found the other side's queue full (511 in Node): the kernel sends it again after 1, 3, 7 s. A server whose processor is busy
 * with handshakes comes to accept others seldom.
 */
const CONNECT_MS = 15_000;
const counts = { connected: 0, shaken: 0, ended: 0, failed: 0 };
/** The beginning of a record that would have 512 bytes. */
const HALF = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]);

function open(at: number): void {
  const target = { host, port, localAddress: sources[at % sources.length] };
  let connected = false;
  const socket =
    kind === 'stranger'
      ? tls.connect({
          ...target,
          rejectUnauthorized: false,
          minVersion: 'TLSv1.3',
          ecdhCurve: 'P-384',
          ALPNProtocols: ['h2'],
        })
      : net.connect(target);
  socket.on('error', () => {});
  socket.once('connect', () => {
    connected = true;
    counts.connected += 1;
    if (kind === 'half') socket.write(HALF);
  });
  socket.once('secureConnect', () => {
    counts.shaken += 1;
  });
  socket.once('close', () => {
    if (connected) counts.ended += 1;
    else counts.failed += 1;
  });
  socket.resume();
}

const began = performance.now();
for (let opened = 0; opened < connections; ) {
  const due = Math.min(connections, Math.ceil(((performance.now() - began) * rate) / 1_000));
  while (opened < due) {
    open(opened);
    opened += 1;
  }
  await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
}
const seconds = (performance.now() - began) / 1_000;
const patience = performance.now() + CONNECT_MS;
while (counts.connected + counts.failed < connections && performance.now() < patience) {
  await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
}
await new Promise((resolve) => setTimeout(resolve, holdMs));
// Not by process.exit(), which tidies up: with thousands of connections it was seen to hang.
process.stdout.write(JSON.stringify({ ...counts, seconds } satisfies CrowdCounts), () =>
  process.kill(process.pid, 'SIGKILL'),
);
