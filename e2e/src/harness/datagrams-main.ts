// SPDX-License-Identifier: Apache-2.0
/** Sends datagrams, each by a port of its own, and prints what came back to each: "" when nothing did in time. */
import dgram from 'node:dgram';
import net from 'node:net';

export interface Datagrams {
  readonly host: string;
  readonly port: number;
  /** In hexadecimal. */
  readonly payloads: readonly string[];
  readonly timeoutMs: number;
}

const ask = ({ host, port, timeoutMs }: Datagrams, payload: string): Promise<string> =>
  new Promise((resolve) => {
    const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
    const end = (answer: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end(''), timeoutMs);
    socket.on('message', (data) => end(data.toString('latin1')));
    socket.send(Buffer.from(payload, 'hex'), port, host);
  });

const settings = JSON.parse(process.argv[2] ?? '') as Datagrams;
const answers: string[] = [];
for (const payload of settings.payloads) answers.push(await ask(settings, payload));
process.stdout.write(JSON.stringify(answers));
