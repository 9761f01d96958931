// SPDX-License-Identifier: Apache-2.0
/** Against real HTTP/2 servers in the agents' place, behind the targets of a real address book. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Http2Server, type IncomingHttpHeaders } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentError } from '@marcher/client';
import { type NamedTarget, withoutTarget, withTarget } from '@marcher/client/address-book';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MeshAgents } from './mesh-agents.js';

let directory: string;
let book: AddressBookFile;
let agents: MeshAgents;
let servers: Http2Server[];
/** What each has been asked, and how many connections it has. */
let asked: { mesh: string; headers: IncomingHttpHeaders }[];
let connections: Map<string, number>;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-meshes-'));
  book = new AddressBookFile(join(directory, 'marcher'));
  servers = [];
  asked = [];
  connections = new Map();
  const tunnels = { open: () => Promise.reject(new AgentError('unreachable', 'no SSH in this test', [], undefined)) };
  agents = new MeshAgents({ environment: { XDG_CONFIG_HOME: directory }, book, tunnels });
  for (const mesh of ['prod', 'lab']) await add(mesh, { url: `unix:${await serve(mesh)}` });
});
afterEach(() => {
  agents.close();
  for (const server of servers) server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function add(name: string, target: NamedTarget): Promise<void> {
  await book.update((before) => withTarget(before, name, target));
}

async function serve(mesh: string): Promise<string> {
  const socket = join(directory, `${mesh}-${servers.length}.sock`);
  const server = createServer((request, response) => {
    asked.push({ mesh, headers: request.headers });
    response.writeHead(200, { 'content-type': 'application/grpc-web+proto' }).end(mesh);
  });
  const counted = connections;
  const count = (by: number): unknown => counted.set(mesh, (counted.get(mesh) ?? 0) + by);
  server.on('session', (session) => {
    count(1);
    session.on('close', () => count(-1));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return socket;
}

async function call(mesh: string, node = 'entry'): Promise<string> {
  const headers = { 'content-type': 'application/grpc-web+proto', cookie: 'a=b' };
  const stream = await agents.open({ mesh, node, method: '/marcher.v1.NodeService/Status' }, headers);
  stream.end();
  const { body } = await agents.answer(stream);
  return (await body.setEncoding('utf8').toArray()).join('');
}

test('each call goes to the entry agent of its mesh, over one connection of that', async () => {
  expect(await call('prod')).toBe('prod');
  expect(await call('lab')).toBe('lab');
  expect(await call('prod', '00112233445566aa')).toBe('prod');
  expect(asked.map(({ headers }) => headers['marcher-node'])).toEqual([undefined, undefined, '00112233445566aa']);
  expect(asked.some(({ headers }) => 'cookie' in headers)).toBe(false);
  expect(Object.fromEntries(connections)).toEqual({ prod: 1, lab: 1 });
});

test('what the address book says counts from the next call on', async () => {
  await call('prod');
  const moved = `unix:${await serve('elsewhere')}`;
  await book.update((before) => withTarget(withoutTarget(before, 'prod'), 'prod', { url: moved }));
  expect(await call('prod')).toBe('elsewhere');
  await expect.poll(() => connections.get('prod')).toBe(0);
  await book.update((before) => withoutTarget(before, 'prod'));
  await expect(call('prod')).rejects.toThrow(/there is no target "prod"/);
});

test('a mesh that is not shown any more has no connection left', async () => {
  await call('prod');
  await call('lab');
  agents.keepOnly('lab');
  await expect.poll(() => Object.fromEntries(connections)).toEqual({ prod: 0, lab: 1 });
  expect(await call('prod')).toBe('prod');
});

test('what a target is shown is read as marcher reads it: a file that others can read is not used', async () => {
  const key = { certFile: '/nowhere/me.crt', keyFile: '/nowhere/me.key' };
  await add('far', { url: 'https://192.0.2.1:7443', ...key });
  await expect(call('far')).rejects.toThrow('/nowhere/me.crt');
});

test('an agent that is not there, and one by SSH that can not be reached, say so', async () => {
  await add('gone', { url: `unix:${join(directory, 'gone.sock')}` });
  await add('far', { url: 'ssh://alice@192.0.2.1' });
  await expect(call('gone')).rejects.toMatchObject({ code: 'unreachable' });
  await expect(call('far')).rejects.toThrow('no SSH in this test');
});
