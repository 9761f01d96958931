// SPDX-License-Identifier: Apache-2.0
/**
 * npm run demo [-- --keep | --stop]
 *
 * One node at work on this machine's loopback: TCP and UDP requests at a steady rate through the proxy while a backend
 * is killed, the configuration changes and the agent itself is killed. Every request is sent once and never retried.
 * The end is 0 only if nothing was lost but what stood on the killed backend in that instant:
 *  - TCP: exchanges under way between the SIGKILL and the moment when the kernel had closed the backend's sockets;
 *  - UDP: datagrams that the proxy sent to the dead backend before a probe or an ICMP error could tell it.
 */
import dgram from 'node:dgram';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Agent, type ServiceFile } from '../harness/agent.js';
import { BackendProcess } from '../harness/backend.js';
import { Load, tally } from '../harness/load.js';
import type { Exchange } from '../harness/load-main.js';
import { type Leftover, undo } from '../harness/reaper.js';
import { now, REPOSITORY, Scope, sleep } from '../harness/scope.js';
import { printTable } from './table.js';

const HEALTHY = 2;
/** Kill to certain detection: two probes 200 ms apart, the later one with its timeout, and jitter. */
const DETECTION_MS = 1_000;
/** A datagram may have stood in the backend's queue for so long when it was killed. */
const QUEUED_MS = 100;
const BODY_BYTES = 1_000;
const KEPT = path.join(REPOSITORY, '.cache/demo-kept.json');

interface Phase {
  readonly title: string;
  readonly from: number;
  to: number;
}

const isFree = async (port: number): Promise<boolean> => {
  const tcp = net.createServer();
  const udp = dgram.createSocket({ type: 'udp6' });
  try {
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen({ port, host: '::' }, resolve);
    });
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind(port, '::', resolve);
    });
    return true;
  } catch {
    return false;
  } finally {
    tcp.close(() => {});
    udp.close();
  }
};

/** A port that is free for TCP and UDP now, below those that the kernel gives to clients, so that it stays free. */
const freePort = async (): Promise<number> => {
  for (let i = 0; i < 200; i++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await isFree(port)) return port;
  }
  throw new Error('found no free port between 20000 and 31999');
};

const stop = async (): Promise<void> => {
  if (!existsSync(KEPT)) {
    console.log('No demo is running.');
    return;
  }
  await undo(JSON.parse(readFileSync(KEPT, 'utf8')) as Leftover[]);
  rmSync(KEPT);
  console.log('Stopped, and its files removed.');
};

interface Verdict {
  readonly rows: string[][];
  readonly lost: string[];
  /** Failures that are put down to the killed backend. */
  readonly cut: number;
}

/** One row per phase; what was lost and why that is not excused. */
const judge = (
  name: string,
  exchanges: readonly Exchange[],
  phases: readonly Phase[],
  excused: (exchange: Exchange) => boolean,
): Verdict => {
  const failures = exchanges.filter((e) => e.failure !== '');
  const withBackend = failures.filter(excused);
  const lost = failures
    .filter((e) => !excused(e))
    .map((e) => `${name}: ${e.failure}, sent at ${new Date(e.sent).toISOString()}`);
  const rows = phases.map((phase) => {
    const counts = tally(exchanges, phase.from, phase.to);
    const cut = withBackend.filter((e) => e.sent >= phase.from && e.sent < phase.to).length;
    const backends = Object.entries(counts.backends).sort(([a], [b]) => a.localeCompare(b));
    return [
      phase.title,
      name,
      String(counts.sent),
      String(counts.answered),
      String(counts.failed - cut),
      String(cut),
      counts.p50Ms.toFixed(2),
      counts.p99Ms.toFixed(2),
      backends.map(([backend, n]) => `${backend} ${n}`).join(', '),
    ];
  });
  return { rows, lost, cut: withBackend.length };
};

const demo = async (keep: boolean): Promise<number> => {
  const logs = path.join(REPOSITORY, '.cache/demo-logs');
  rmSync(logs, { recursive: true, force: true });
  const scope = new Scope(logs);
  const interrupted = (): void => {
    void scope.close().then(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  let kept = false;
  try {
    const backend = (name: string, tcp = 0, udp = 0): Promise<BackendProcess> =>
      BackendProcess.start(scope, { name, host: '127.0.0.1', tcp, udp, standing: keep });
    const b1 = await backend('b1');
    let b2 = await backend('b2');
    const ports = { tcp: await freePort(), udp: await freePort() };
    const health = { interval: '200ms', timeout: '150ms', fall: 2, rise: 2 };
    const services = (...backends: BackendProcess[]): ServiceFile[] => [
      {
        name: 'web',
        listeners: [{ protocol: 'tcp', port: ports.tcp }],
        backends: backends.map((b) => ({ name: b.name, address: b.tcpAddress })),
        balance: { algorithm: 'round-robin' },
        health: { type: 'tcp', ...health },
      },
      {
        name: 'dns',
        listeners: [{ protocol: 'udp', port: ports.udp }],
        backends: backends.map((b) => ({ name: b.name, address: b.udpAddress })),
        balance: { algorithm: 'round-robin' },
        health: { type: 'udp', ...health, udp: { payload: '0 ', expect: '0 ' } },
      },
    ];
    const agent = new Agent(scope);
    console.log(`Starting an agent with its state in ${agent.stateDir}`);
    console.log(`  ready after ${(await agent.start()).toFixed(0)} ms`);
    await agent.apply(services(b1, b2));
    const healthy = async (...names: string[]): Promise<void> => {
      await agent.backendsAre('web', HEALTHY, names);
      await agent.backendsAre('dns', HEALTHY, names);
    };
    await healthy('b1', 'b2');
    console.log(`  web on TCP ${ports.tcp}, dns on UDP ${ports.udp}, two backends each\n`);

    const web = await Load.start(scope, {
      name: 'web',
      kind: 'tcp-short',
      host: '127.0.0.1',
      port: ports.tcp,
      rate: 200,
      bytes: BODY_BYTES,
    });
    const dns = await Load.start(scope, {
      name: 'dns',
      kind: 'udp',
      host: '127.0.0.1',
      port: ports.udp,
      rate: 200,
      connections: 10,
      bytes: 200,
      timeoutMs: 1_000,
    });
    const phases: Phase[] = [];
    const phase = (title: string): void => {
      const at = now();
      const last = phases.at(-1);
      if (last !== undefined) last.to = at;
      phases.push({ title, from: at, to: Number.POSITIVE_INFINITY });
      console.log(`  ${title}`);
    };

    phase('two backends');
    await sleep(2_000);
    phase('b2 killed (SIGKILL)');
    const { from: killed, to: gone } = b2.kill();
    await sleep(2_000);
    const cut = await agent.cutShort('web', 'b2', killed, BODY_BYTES);
    phase('b2 started again');
    b2 = await backend('b2', b2.ports.tcp, b2.ports.udp);
    await healthy('b1', 'b2');
    await sleep(1_000);
    phase('b3 added (marcher apply)');
    const b3 = await backend('b3');
    await agent.apply(services(b1, b2, b3));
    await healthy('b3');
    await sleep(1_500);
    phase('agent killed (SIGKILL)');
    const engine = await agent.enginePid();
    agent.kill('SIGKILL');
    await agent.exited();
    await sleep(1_500);
    phase('agent started again');
    const again = await agent.start();
    const adopted = (await agent.enginePid()) === engine;
    await sleep(700);
    phase('b1 removed (marcher apply)');
    await agent.apply(services(b2, b3));
    await sleep(1_500);

    const tcp = await web.stop();
    const udp = await dns.stop();
    const verdicts = [
      judge('TCP', tcp, phases, (e) => e.sent <= gone && e.done >= killed),
      judge('UDP', udp, phases, (e) => e.sent >= killed - QUEUED_MS && e.sent < gone + DETECTION_MS),
    ];
    const [t, u] = verdicts;
    console.log();
    printTable(
      ['phase', '', 'sent', 'answered', 'lost', 'cut by the kill', 'p50 ms', 'p99 ms', 'answered by'],
      phases.flatMap((_, i) => [t?.rows[i] ?? [], u?.rows[i] ?? []]),
    );
    console.log(
      `\nCut by the kill: under way on the killed backend. TCP: while it died, which took ${(gone - killed).toFixed(0)} ms; ` +
        `${cut} connections to it were cut short by it.\nUDP: sent from ${QUEUED_MS} ms before the kill until ` +
        `${DETECTION_MS} ms after it, when the probes have told. No proxy can save these; all others count as lost.`,
    );
    console.log(
      `The agent was back after ${again.toFixed(0)} ms and ${adopted ? 'adopted the running engine' : 'did NOT adopt the engine'}.`,
    );
    const lost = verdicts.flatMap((v) => v.lost);
    const excused = t?.cut ?? 0;
    if (excused > cut) lost.push(`${excused - cut} of TCP that are called cut by the kill had not reached the backend`);
    if (!adopted) lost.push('the engine was not adopted');
    for (const line of lost.slice(0, 20)) console.log(`LOST  ${line}`);
    console.log(lost.length === 0 ? `\n${tcp.length + udp.length} requests, nothing lost.` : `\n${lost.length} lost.`);

    if (keep) {
      const leftovers = await scope.keep();
      kept = true;
      mkdirSync(path.dirname(KEPT), { recursive: true });
      writeFileSync(KEPT, JSON.stringify(leftovers));
      const cli = `${path.relative(process.cwd(), path.join(REPOSITORY, 'tui/bin/marcher'))} --target unix:${agent.socket}`;
      console.log(`
It keeps running. Try:
  ${cli} test ping 127.0.0.1:${ports.tcp} --payload '1 0\\n'
  ${cli} status
  ${cli} get services -o yaml
  ${cli} stats
  ${cli} connections
  ${cli} history
  ${cli} explain service web
  ${cli} test balance 127.0.0.1:${ports.tcp} --payload '1 0\\n' --match '^1 (\\S+)'
Stop it:
  npm run demo -- --stop`);
    }
    return lost.length === 0 ? 0 : 1;
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    if (!kept) await scope.close();
  }
};

const { values } = parseArgs({
  options: { keep: { type: 'boolean', default: false }, stop: { type: 'boolean', default: false } },
});
try {
  if (values.stop) await stop();
  else process.exit(await demo(values.keep));
} catch (error) {
  console.error(`The demo could not be run: ${(error as Error).message}\nLogs: .cache/demo-logs`);
  process.exit(1);
}
