// SPDX-License-Identifier: Apache-2.0
/** The key of an offline root as an operator has it: the built program, over the real API of a real node. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { type Machine, Machines, PATIENCE } from './mesh/testing/machines.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

const machines = new Machines();
const at = (name: string): string => join(machines.root, name);
let node: Machine;
let server: ApiServer;

async function run(...args: string[]): Promise<CommandResult> {
  return await runMarcher(args, { env: { HOME: machines.root, MARCHER_TARGET: `unix:${at('api.sock')}` } });
}

beforeAll(async () => {
  await buildMarcher();
  node = await machines.start('one');
  const { config, node: itself, traffic } = new InMemoryUseCases();
  const ignored = (): void => undefined;
  server = createApiServer({
    useCases: { config, node: itself, traffic, mesh: node.mesh },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug: ignored, info: ignored, warn: ignored, error: ignored },
    socketPath: at('api.sock'),
    limits: { stopMs: 500 },
  });
  await server.start();
  writeFileSync(at('good'), 'correct horse battery\n');
});

afterAll(async () => {
  await server.stop();
  await machines.stop();
});

test("a root's key is in the operator's file alone, makes intermediates, and revokes them", {
  timeout: 60_000,
}, async () => {
  const key = at('root.key');
  const made = await run('mesh', 'init', 'prod', '--root-key-out', key, '--passphrase-file', at('good'));
  expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining('is the first of mesh prod') });
  expect(made.stderr).toContain(`The key of its root is in ${key}, and nowhere else`);
  expect(statSync(key).mode & 0o777).toBe(0o600);
  const [first, offline] = node.mesh.ca().roots;
  expect([first?.issuer, offline?.state, offline?.keyHeldBy]).toEqual([offline?.fingerprint, 'offline', []]);
  const held = readdirSync(join(node.dir, 'identity')).filter((name) => name.startsWith('authority-'));
  expect(held).toEqual([`authority-${first?.fingerprint}`]);

  // A key is never replaced.
  const [again, table] = await Promise.all([
    run('mesh', 'ca', 'rotate', '--root-key-out', key, '--passphrase-file', at('good')),
    run('mesh', 'ca'),
  ]);
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('is there already')]);
  expect(table.stdout).toMatch(/ROOT +SIGNED-BY +STATE/);
  expect(table.stdout).toMatch(
    new RegExp(`${first?.fingerprint.slice(0, 16)} +${offline?.fingerprint.slice(0, 16)} +signs`),
  );

  const before = readFileSync(key, 'utf8');
  // Certificates have whole seconds, and the next is to be newer.
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan((first?.createdMs ?? 0) + 302_000), PATIENCE);
  const rotate = ['mesh', 'ca', 'rotate', '--now'];
  const rotated = await run(...rotate, '--root-key', key, '--passphrase-file', at('good'), '--days', '90');
  expect(rotated).toMatchObject({ code: 0, stdout: expect.stringContaining('The mesh has a new intermediate') });
  await vi.waitFor(() => expect(node.mesh.ca().roots[0]?.state).toBe('signs'), PATIENCE);
  const [second] = node.mesh.ca().roots;
  expect(Math.round(((second?.expiresMs ?? 0) - Date.now()) / 86_400_000)).toBe(90);
  const retire = ['mesh', 'ca', 'retire', first?.fingerprint ?? '', '--yes', '--force'];
  const retired = await run(...retire, '--root-key', key, '--passphrase-file', at('good'));
  expect(retired).toEqual({
    code: 0,
    stderr: '',
    stdout: `Retired intermediate ${first?.fingerprint.slice(0, 16)}.\n`,
  });
  await vi.waitFor(() => expect(node.material.at(-1)?.revocations.has(first?.serial ?? '')).toBe(true), PATIENCE);
  expect(readFileSync(key, 'utf8')).toBe(before);
});
