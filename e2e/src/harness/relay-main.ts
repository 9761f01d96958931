// SPDX-License-Identifier: Apache-2.0
/** relay-main SOCKET HOST PORT: whoever connects to the socket is connected to there. The way into a network namespace. */
import net from 'node:net';

const [socket = '', host = '', port = ''] = process.argv.slice(2);
net
  .createServer((from) => {
    const to = net.connect(Number(port), host);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('error', () => undefined);
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  })
  .listen(socket);
