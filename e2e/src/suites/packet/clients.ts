// SPDX-License-Identifier: Apache-2.0
/** Clients that people have: curl, iperf3. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { PACE } from '../../harness/pace.js';
import { now, sleep } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';
import type { Host } from '../../harness/topology.js';

const urlHost = (vip: string): string => (vip.includes(':') ? `[${vip}]` : vip);

/** An upload of so many bytes through the service, and its answer. */
export const upload = async (world: World, client: Host, vip: string, port: number, bytes: number): Promise<void> => {
  const file = path.join(world.scope.dir, 'upload');
  writeFileSync(file, Buffer.alloc(bytes, 'x'));
  const out = ['-o', '/dev/null', '-w', '%{http_code} %{size_upload}'];
  const url = `http://${urlHost(vip)}:${port}/health`;
  const answer = await world.scope.must(
    ['curl', '--silent', '--show-error', '--max-time', `${10 * PACE}`, ...out, '--data-binary', `@${file}`, url],
    { netns: client.netns },
  );
  world.equal(answer, `200 ${bytes}`, `upload to ${vip}`);
};

/** As long as an upload may go on. */
const UPLOAD_S = 120;

/** An upload that goes on until the returned function is called, which waits for its answer: one connection all the time. */
export const endlessUpload = (world: World, client: Host, vip: string, port: number): (() => Promise<void>) => {
  const enough = path.join(world.scope.dir, `enough-${port}-${urlHost(vip)}`);
  const url = `http://${urlHost(vip)}:${port}/health`;
  const pieces = `while [ ! -e '${enough}' ] && head -c 20000 /dev/zero; do sleep 0.05; done`;
  const curl = `curl --silent --show-error --max-time ${UPLOAD_S * PACE} -T - -o /dev/null -w '%{http_code} %{size_upload}' ${url}`;
  const options = { netns: client.netns, timeoutMs: UPLOAD_S * 1_000 };
  const answer = world.scope.must(['bash', '-c', `{ ${pieces}; } | ${curl}`], options);
  // Awaited later: until then a failure is nobody's.
  answer.catch(() => undefined);
  return async () => {
    writeFileSync(enough, '');
    const [code, bytes] = (await answer).split(' ');
    world.equal(code, '200', `the upload to ${vip}`);
    world.check(Number(bytes) > 200_000, `only ${bytes} bytes were uploaded to ${vip}`);
  };
};

/** A datagram that nobody answers. */
export const datagram = async (world: World, client: Host, vip: string, port: number, bytes: number): Promise<void> => {
  // An error that comes when the socket is gone is nobody's.
  const send = `exec 3>/dev/udp/${vip}/${port}; head -c ${bytes} /dev/zero >&3; sleep 0.1`;
  await world.scope.must(['bash', '-c', send], { netns: client.netns });
};

/** iperf3 answers at the addresses of the host, each by a process of its own. */
export const serveIperf = (world: World, { netns }: Host, addresses: readonly string[], port: number): void => {
  for (const address of addresses) {
    world.scope.spawn(['iperf3', '--server', '--bind', address, '--port', String(port)], { netns, log: 'iperf3.log' });
  }
};

interface IperfReport {
  readonly error?: string;
  readonly end?: {
    readonly sum_received?: { readonly bytes: number };
    readonly sum?: { readonly packets: number; readonly lost_packets: number };
  };
}

/** What takes a real machine no time is seconds of an emulated one's. */
const TCP_BYTES = 20_000_000 / PACE;
/** The rest is in buffers when the client ends the test. */
const TCP_BYTES_LEAST = TCP_BYTES / 10;
const UDP_BYTES = 300_000;
/** So slow that a receiver who has to wait for a processor loses nothing. */
const UDP_BITS_PER_SECOND = 5_000_000 / PACE;

/** iperf3 through the service by TCP, then by UDP. */
export const iperf = async (world: World, client: Host, vip: string, port: number): Promise<void> => {
  const run = async (...args: string[]): Promise<NonNullable<IperfReport['end']>> => {
    const patience = ['--connect-timeout', String(3_000 * PACE)];
    const argv = ['iperf3', '--client', vip, '--port', String(port), '--json', ...patience, ...args];
    const end = now() + 5_000 * PACE;
    for (;;) {
      const { stdout, stderr } = await world.scope.run(argv, { netns: client.netns });
      const report = JSON.parse(stdout || '{}') as IperfReport;
      if (report.error === undefined && report.end !== undefined) return report.end;
      // The server may still be starting, or end the test before.
      if (now() > end) throw new Error(`iperf3 to ${vip}: ${report.error ?? stderr}`);
      await sleep(100);
    }
  };
  const tcp = await run('--bytes', String(TCP_BYTES));
  const received = tcp.sum_received?.bytes ?? 0;
  world.check(received >= TCP_BYTES_LEAST, `iperf3 by TCP to ${vip}: only ${received} bytes came`);
  // Before a tunnel's header there is room in each frame.
  const rate = ['--bitrate', String(UDP_BITS_PER_SECOND), '--length', '1200', '--bytes', String(UDP_BYTES)];
  const { packets = 0, lost_packets: lost = 0 } = (await run('--udp', ...rate)).sum ?? {};
  world.check(packets > 200, `iperf3 by UDP to ${vip}: only ${packets} datagrams`);
  // A receiver that waits for a processor loses what its socket does not hold.
  world.check(lost <= packets / 5, `iperf3 by UDP to ${vip}: ${lost} of ${packets} datagrams were lost`);
};
