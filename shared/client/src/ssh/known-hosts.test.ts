// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { fingerprint, hostKeyName, judge, knownHostLine, knownKeys } from './known-hosts.js';
import { makeKey } from './testing/sshd.js';

const directory = mkdtempSync(join(tmpdir(), 'marcher-known-'));
const one = makeKey(join(directory, 'one'));
const two = makeKey(join(directory, 'two'));
const ecdsa = makeKey(join(directory, 'ecdsa'), 'ecdsa');
const keyOf = (line: string): Buffer => Buffer.from(line.split(' ')[1] ?? '', 'base64');
const file = (...lines: string[]) => [{ path: '/k', text: lines.join('\n') }];
const kind = (shown: string, name: string, ...lines: string[]): string =>
  judge(keyOf(shown), knownKeys(file(...lines), name)).kind;

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('lines', () => {
  test.each<[string, string, boolean]>([
    ['node1', 'node1', true],
    ['node1,10.0.0.1', '10.0.0.1', true],
    ['NODE1', 'node1', true],
    ['node1', 'node11', false],
    ['*.example.org', 'a.b.example.org', true],
    ['node?', 'node1', true],
    ['node?', 'node', false],
    ['*.example.org,!bad.example.org', 'bad.example.org', false],
    ['!bad.example.org,*.example.org', 'good.example.org', true],
    ['!bad.example.org', 'good.example.org', false],
    ['[node1]:2222', '[node1]:2222', true],
    ['node1', '[node1]:2222', false],
    ['[node1]:2222', 'node1', false],
    ['[*]:2222', '[node1]:2222', true],
    ['|1|bad|bad', 'node1', false],
    ['|2|AAAA|AAAA', 'node1', false],
  ])('"%s" is of %s: %s', (hosts, name, isKnown) => {
    expect(kind(one, name, `${hosts} ${one} comment`)).toBe(isKnown ? 'known' : 'unknown');
  });

  test('those that are none of a key are left out', () => {
    const lines = ['', '#node1 ssh-ed25519 AAAA', 'node1', 'node1 ssh-ed25519', `node1 ssh-rsa ${one.split(' ')[1]}`];
    const odd = [
      `@unknown node1 ${one}`,
      `node1 2048 35 1234`,
      `${'x'.repeat(20_000)} ${one}`,
      `node1 ssh-ed25519 AAAAC3`,
    ];
    expect(knownKeys(file(...lines, ...odd, `node1\t${one}\r`), 'node1')).toMatchObject([{ line: 10, path: '/k' }]);
  });

  test('names that OpenSSH has hashed are found, and OpenSSH finds those that are hashed here', () => {
    const path = join(directory, 'hashed');
    writeFileSync(path, `node1,[node2]:2222 ${one}\n`);
    execFileSync('ssh-keygen', ['-q', '-H', '-f', path], { stdio: 'ignore' });
    const text = execFileSync('cat', [path], { encoding: 'utf8' });
    expect(text).not.toContain('node');
    for (const name of ['node1', '[node2]:2222'])
      expect(judge(keyOf(one), knownKeys([{ path, text }], name)).kind).toBe('known');
    writeFileSync(
      path,
      knownHostLine('[node3]:22022', keyOf(two), Buffer.alloc(20, 7)) + knownHostLine('node4', keyOf(two)),
    );
    const found = (name: string): string => execFileSync('ssh-keygen', ['-F', name, '-f', path], { encoding: 'utf8' });
    expect(found('[node3]:22022')).toContain(two);
    expect(found('node4')).toContain(`node4 ${two}`);
  });
});

describe('a key that a server shows', () => {
  test('is known if it is one of several', () => {
    expect(kind(two, 'node1', `node1 ${one}`, `node1 ${ecdsa}`, `node1 ${two}`)).toBe('known');
  });

  test('has changed if others are known, of whatever type, with file and line', () => {
    const known = knownKeys(
      [
        { path: '/a', text: `\nnode1 ${one}` },
        { path: '/b', text: `node* ${ecdsa}` },
      ],
      'node1',
    );
    expect(judge(keyOf(two), known)).toMatchObject({
      kind: 'changed',
      known: [
        { path: '/a', line: 2, type: 'ssh-ed25519' },
        { path: '/b', line: 1, type: 'ecdsa-sha2-nistp256' },
      ],
    });
    expect(kind(two, 'node1', `node1 ${ecdsa}`)).toBe('changed');
  });

  test('that is revoked is so, also where it is known', () => {
    expect(kind(one, 'node1', `node1 ${one}`, `@revoked * ${one}`)).toBe('revoked');
    expect(kind(two, 'node1', `node1 ${two}`, `@revoked * ${one}`)).toBe('known');
    expect(kind(two, 'node1', `@revoked * ${one}`)).toBe('unknown');
  });

  test('is not known by the CA of hosts that a line names, nor as its key', () => {
    const known = knownKeys(file(`@cert-authority *.example.org ${one}`), 'a.example.org');
    expect(judge(keyOf(one), known)).toMatchObject({ kind: 'unknown', authorities: [{ line: 1 }] });
  });

  test('has the fingerprint that ssh-keygen prints', () => {
    const printed = execFileSync('ssh-keygen', ['-lf', join(directory, 'one.pub')], { encoding: 'utf8' });
    expect(printed.split(' ')[1]).toBe(fingerprint(keyOf(one)));
  });
});

test('a host is named with its port where that is not 22', () => {
  expect([hostKeyName('Node1', 22), hostKeyName('Node1', 2222), hostKeyName('::1', 2222)]).toEqual([
    'node1',
    '[node1]:2222',
    '[::1]:2222',
  ]);
});
