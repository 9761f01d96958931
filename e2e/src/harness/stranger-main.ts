// SPDX-License-Identifier: Apache-2.0
/** What somebody without a client of ours tries at an agent's API from elsewhere; prints what became of each. */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';

export interface StrangerSettings {
  readonly host: string;
  readonly port: number;
  readonly caFile: string;
  /** Whose password is guessed. */
  readonly user: string;
  readonly guesses: number;
  /** The right one, tried after the guesses. */
  readonly password: string;
}

export interface StrangerResults {
  /** OpenSSL's code, or "connected". */
  readonly tls12: string;
  /** What came back for a request without TLS, in bytes. */
  readonly plainBytes: number;
  /** Codes of gRPC, how often each. */
  readonly guessed: Readonly<Record<string, number>>;
  readonly afterwards: string;
  readonly message: string;
}

const settings = JSON.parse(process.argv[2] ?? '') as StrangerSettings;
const { host, port, user } = settings;
const TIMEOUT_MS = 10_000;

function tls12(): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls.connect({ host, port, maxVersion: 'TLSv1.2', rejectUnauthorized: false, timeout: TIMEOUT_MS });
    socket.once('secureConnect', () => resolve('connected'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

function plain(): Promise<number> {
  return new Promise((resolve) => {
    let bytes = 0;
    const socket = net.connect({ host, port, timeout: TIMEOUT_MS }, () => {
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    });
    // An alert of TLS (7 bytes) is no answer.
    socket.on('data', (data) => {
      bytes += data.length;
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(bytes));
  });
}

const access = createClient(
  AccessService,
  createGrpcTransport({
    baseUrl: `https://${host}:${port}`,
    nodeOptions: { ca: readFileSync(settings.caFile), checkServerIdentity: () => undefined },
  }),
);

async function login(password: string): Promise<[code: string, message: string]> {
  try {
    await access.login({ name: user, password, code: '' }, { timeoutMs: TIMEOUT_MS });
    return ['let in', ''];
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    return [Code[code], rawMessage];
  }
}

const [version, plainBytes] = await Promise.all([tls12(), plain()]);
const guessed: Record<string, number> = {};
for (let i = 0; i < settings.guesses; i++) {
  const [code] = await login(`a guess that is long enough, ${i}`);
  guessed[code] = (guessed[code] ?? 0) + 1;
}
const [afterwards, message] = await login(settings.password);
const results: StrangerResults = { tls12: version, plainBytes, guessed, afterwards, message };
process.stdout.write(JSON.stringify(results), () => process.exit(0));
