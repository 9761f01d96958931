// SPDX-License-Identifier: Apache-2.0
/** npm run console:web -- [-t TARGET] [--port PORT]: the console in a browser of this machine. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { formatTarget } from '@marcher/client';
import { Connection } from '@marcher/client/connection';
import { AgentDoor } from '../entry/agent-door.js';
import { chooseAgent } from '../entry/chosen-agent.js';
import { keepRenewed } from '../entry/keep-renewed.js';
import { Assets } from './assets.js';
import { startGateway } from './gateway.js';

const CONNECT_TIMEOUT_MS = 5_000;
const usage = `usage: npm run console:web -- [-t TARGET] [--port PORT] [--ca-file FILE] [--cert-file FILE --key-file FILE]
       [--token-file FILE] [--node-id ID]
TARGET as for marcher: a name of "marcher target list", local, unix:PATH, HOST:PORT of this machine, https://HOST:PORT`;

try {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', short: 't' },
      port: { type: 'string', default: '0' },
      'ca-file': { type: 'string' },
      'cert-file': { type: 'string' },
      'key-file': { type: 'string' },
      'token-file': { type: 'string' },
      'node-id': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port is "${values.port}": expected 0 to 65535`);
  const files = {
    caFile: values['ca-file'],
    certFile: values['cert-file'],
    keyFile: values['key-file'],
    tokenFile: values['token-file'],
    nodeId: values['node-id'],
  };
  const { target, credentials, session } = chooseAgent(values.target, files, process.env);
  const connection = new Connection(target, CONNECT_TIMEOUT_MS, credentials);
  const assets = new Assets(path.join(import.meta.dirname, '../../web'));
  const gateway = await startGateway({ agents: new AgentDoor(connection, target), assets, port });
  console.log(
    `The console of ${formatTarget(target)}, for whoever has this address, until Ctrl-C:\n${gateway.address}`,
  );
  const letGo = session === undefined ? () => {} : keepRenewed(session);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      letGo();
      connection.close();
      void gateway.close();
    });
  }
} catch (error) {
  console.error(`${(error as Error).message}\n${usage}`);
  process.exit(2);
}
