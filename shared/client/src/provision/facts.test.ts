// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { factsScript, type MachineFacts, parseFacts } from './facts.js';
import { judgeMachine, privilegeOf } from './findings.js';
import { layoutUnder } from './layout.js';

const facts: MachineFacts = {
  ...{ hostName: 'node2', system: 'Linux', distribution: 'Debian GNU/Linux 12 (bookworm)', kernel: '6.1.0-13-amd64' },
  ...{ architecture: 'x86_64', glibc: '2.36', uid: 0, maySudo: false, hasSystemd: true, lacks: [] },
  ...{ freeBytes: 2 ** 33, memoryBytes: 2 ** 32, takenPorts: [], there: [], runs: false, address: '192.0.2.2' },
};
const needs = { architectures: ['x86_64'], diskMiB: 600, glibc: '2.36', service: true };

describe('the script, on this machine', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'marcher-facts-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const asked = (ports: readonly number[] = []): MachineFacts | undefined => {
    const env = { ...process.env, SSH_CONNECTION: '192.0.2.1 1234 192.0.2.2 22' };
    return parseFacts(execFileSync('sh', ['-c', factsScript(layoutUnder(root), ports)], { env }).toString());
  };

  test('says what there is, and where the session has come to', () => {
    const found = asked();
    expect(found).toMatchObject({ system: 'Linux', address: '192.0.2.2', there: [], lacks: [] });
    expect(found?.uid).toBe(process.getuid?.());
    expect(found?.freeBytes).toBeGreaterThan(0);
    expect(found?.memoryBytes).toBeGreaterThan(2 ** 26);
    expect(found?.glibc).toMatch(/^2\.\d+$/);
  });

  test('says which paths of a node and which ports are taken; an empty state directory is nothing', async () => {
    mkdirSync(join(root, 'opt/marcher'), { recursive: true });
    mkdirSync(join(root, 'var/lib/marcher'), { recursive: true });
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    try {
      const found = asked([port]);
      expect(found?.there).toEqual([join(root, 'opt/marcher')]);
      expect(found?.takenPorts).toEqual([`tcp/${port}`]);
    } finally {
      server.close();
    }
    writeFileSync(join(root, 'var/lib/marcher/marcher.db'), '');
    expect(asked()?.there).toContain(join(root, 'var/lib/marcher'));
  });
});

test('what is not whole, or says something else, are no facts', () => {
  expect(parseFacts('')).toBeUndefined();
  expect(parseFacts('This account is currently not available.\n')).toBeUndefined();
  expect(parseFacts('host a\nsystem Linux\nuid 0\n')).toBeUndefined();
  expect(parseFacts('system Linux\nend yes\n')).toMatchObject({ uid: -1, freeBytes: 0, glibc: '' });
});

test('control characters of a machine are not passed on', () => {
  expect(parseFacts('host evil\u001b[2J\nsystem Linux\nend yes\n')?.hostName).toBe('evil [2J');
});

describe('the judgement', () => {
  test('of a Debian 12 with systemd and root is nothing', () => {
    expect(judgeMachine(facts, needs)).toEqual([]);
  });

  test.each<[string, Partial<MachineFacts>, RegExp]>([
    ['another system', { system: 'FreeBSD' }, /needs Linux/],
    ['another architecture', { architecture: 'riscv64' }, /no installation for that/],
    ['musl', { glibc: '' }, /not glibc/],
    ['an older glibc', { glibc: '2.31' }, /2\.36 or newer/],
    ['an older kernel', { kernel: '4.19.0-21-amd64' }, /5\.10 or newer/],
    ['no systemd', { hasSystemd: false }, /systemd/],
    ['no root', { uid: 1000 }, /sudo/],
    ['no tar', { lacks: ['tar'] }, /no tar/],
    ['a node', { there: ['/opt/marcher'] }, /\/opt\/marcher is there already/],
    ['an engine', { runs: true }, /runs there already/],
    ['a port in use', { takenPorts: ['udp/7401'] }, /udp\/7401 is in use/],
    ['a full disk', { freeBytes: 2 ** 20 }, /1 MiB of disk/],
  ])('%s stops it, and says why', (_what, change, why) => {
    const findings = judgeMachine({ ...facts, ...change }, needs);
    expect(findings).toEqual([{ severity: 'stop', text: expect.stringMatching(why) }]);
  });

  test('sudo without a password is enough, and little memory is a word', () => {
    expect(privilegeOf({ ...facts, uid: 1000, maySudo: true })).toBe('sudo');
    const findings = judgeMachine({ ...facts, uid: 1000, maySudo: true, memoryBytes: 2 ** 27 }, needs);
    expect(findings).toEqual([{ severity: 'warn', text: expect.stringMatching(/128 MiB/) }]);
  });
});
