// SPDX-License-Identifier: Apache-2.0
/** `marcher --node`: another member through the one that -t names, by the built program, which is no import. */
import { beforeAll, expect, test } from 'vitest';
import { B, relayedPair } from './adapters/inbound/grpc/testing/relayed.js';
import { testAuthority } from './adapters/outbound/identity/testing/mesh.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

beforeAll(async () => {
  await buildMarcher();
}, 120_000);

test('--node asks another member, by name or id; without it, or for an agent of before, nothing goes there', async () => {
  const { entry, other, port } = await relayedPair(await testAuthority(Date.now()));
  await other.client.config.apply({
    change: { upsert: [{ name: 'web', backends: [{ name: 'b1', address: '10.0.0.1:80' }] }] },
  });
  other.useCases.log({ service: 'web', message: 'from node-b' });
  const run = (...args: string[]): Promise<CommandResult> =>
    runMarcher(args, { env: { HOME: '/nonexistent', MARCHER_TARGET: `unix:${entry.socketPath}` } });
  const [status, backends, explain, logs, connections, byId, unknown, denied, completed] = await Promise.all([
    run('status', '--node', 'node-b'),
    run('get', 'backends', '--node', 'node-b'),
    run('explain', 'service', 'web', '--node', 'node-b'),
    run('logs', '--node', 'node-b'),
    run('connections', 'web', '--node', 'node-b'),
    run('stats', '--node', B),
    run('status', '--node', 'node-x'),
    run('audit', 'verify', '--file', '-', '--node', 'node-b'),
    run('__complete', 'status', '--node', ''),
  ]);
  expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining(`Mesh     prod, node ${B}`) });
  expect(backends).toMatchObject({ code: 0, stdout: expect.stringMatching(/\nweb +b1 /) });
  expect(explain).toMatchObject({ code: 0, stdout: expect.stringContaining('Carried by tier relay') });
  expect(logs).toMatchObject({ code: 0, stdout: expect.stringContaining('from node-b') });
  expect(connections).toMatchObject({ code: 0, stdout: expect.stringMatching(/\nweb /) });
  expect(byId).toMatchObject({ code: 0, stdout: expect.stringMatching(/\nweb /) });
  expect(unknown).toMatchObject({ code: 8, stderr: expect.stringContaining('there is no member "node-x"') });
  expect(denied).toMatchObject({ code: 2, stderr: expect.stringContaining('--file and --node exclude each other') });
  expect(completed.stdout).toBe('node-b\n');

  const drained = await run('drain', '--node', 'node-b');
  expect(drained).toMatchObject({
    code: 0,
    stdout: 'Node node-b takes no new connections; 7 connections may finish.\n',
  });
  expect([entry, other].map(({ useCases }) => useCases.drained.has('/'))).toEqual([false, true]);
  const back = await run('undrain', '--node', B);
  expect(back).toMatchObject({ code: 0, stdout: `Node ${B} takes new connections again.\n` });

  entry.mesh.member('00000000000000c3', 'node-b', 'alive');
  await port.server.close();
  const [twice, gone, none] = await Promise.all([
    run('status', '--node', 'node-b'),
    run('drain', '--node', B),
    run('apply', '--node', 'node-b', '-f', '-'),
  ]);
  expect(twice).toMatchObject({ code: 2, stderr: expect.stringContaining(`2 members are called`) });
  expect(gone).toMatchObject({ code: 5, stderr: expect.stringContaining("can't be reached from here") });
  expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining("unknown option '--node'") });
});
