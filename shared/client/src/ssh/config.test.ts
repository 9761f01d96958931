// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseTarget, type SshTarget } from '../target.js';
import { type ConfigFiles, type HostSettings, settingsOf } from './config.js';
import { wordsOf } from './config-words.js';
import { type Hop, routeTo } from './route.js';

const places = { home: '/home/me', systemDirectory: '/etc/ssh', localUser: 'me' };
const directory = mkdtempSync(join(tmpdir(), 'marcher-config-'));

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** By path; patterns name what begins so. */
function filesOf(texts: Readonly<Record<string, string>>): ConfigFiles {
  return {
    read: (path) => texts[path],
    matching: (pattern) =>
      Object.keys(texts)
        .filter((path) => path.startsWith(pattern.replace(/\*.*$/, '')))
        .sort(),
  };
}

const settings = (host: string, text: string, more: Record<string, string> = {}): HostSettings =>
  settingsOf(host, undefined, filesOf({ '/home/me/.ssh/config': text, ...more }), places);

const route = (target: string, text: string, environment: Record<string, string> = {}): Hop[] =>
  routeTo(parseTarget(target) as SshTarget, filesOf({ '/home/me/.ssh/config': text }), { ...places, environment });

describe('the same as ssh -G says', () => {
  const config = `
# a comment
Host web* !web9
  HostName=%h.example.org
  User "first one"
  IdentityFile ~/.ssh/web
Host web9 db
\tPort 2222 # a comment behind it
  HostKeyAlias "the db"
Match host *.example.org originalhost web1,web2
  ProxyJump jump@gate:2200,inner
Match !originalhost web1 user "first one"
  ServerAliveInterval 2m
Match localuser nobody-here
  User wrong
Host *
  User last
  Port 22022
  IdentityFile ~/.ssh/all
  IdentitiesOnly yes
  ServerAliveInterval 30
  HashKnownHosts yes
  UserKnownHostsFile /a /b
`;
  test.each(['web1', 'web2', 'web3', 'web9', 'db', 'other', 'WEB1'])('%s', (host) => {
    const path = join(directory, 'config');
    writeFileSync(path, config);
    const printed = execFileSync('ssh', ['-G', '-F', path, host], { encoding: 'utf8', stdio: 'pipe' });
    const said = (keyword: string): string[] =>
      printed.split('\n').flatMap((line) => (line.startsWith(`${keyword} `) ? [line.slice(keyword.length + 1)] : []));
    const got = settings(host, config);
    expect({
      hostname: [(got.hostName?.replace('%h', host) ?? host).toLowerCase()],
      user: [got.user],
      port: [String(got.port)],
      identityfile: got.identityFiles,
      identitiesonly: [got.identitiesOnly ? 'yes' : 'no'],
      proxyjump: got.jumps.length === 0 ? [] : [got.jumps.join(',')],
      serveraliveinterval: [String(got.serverAliveIntervalS)],
      hashknownhosts: [got.hashKnownHosts ? 'yes' : 'no'],
      userknownhostsfile: [got.userKnownHostsFiles?.join(' ')],
      hostkeyalias: got.hostKeyAlias === undefined ? [] : [got.hostKeyAlias],
    }).toEqual({
      hostname: said('hostname'),
      user: said('user'),
      port: said('port'),
      identityfile: said('identityfile'),
      identitiesonly: said('identitiesonly'),
      proxyjump: said('proxyjump'),
      serveraliveinterval: said('serveraliveinterval'),
      hashknownhosts: said('hashknownhosts'),
      userknownhostsfile: said('userknownhostsfile'),
      hostkeyalias: said('hostkeyalias'),
    });
  });
});

describe('files', () => {
  test('the user’s goes before the system’s, and Include is where it stands, for whom it stands', () => {
    const more = {
      '/home/me/.ssh/config.d/10': 'User ten\nHost b\n  Port 10',
      '/home/me/.ssh/config.d/20': 'User twenty',
      '/etc/ssh/ssh_config': 'Include ssh_config.d/*\nUser system\nPort 3',
      '/etc/ssh/ssh_config.d/x': 'HostName of-system',
    };
    expect(settings('a', 'Host a\n  Include config.d/*\n  Port 1', more)).toMatchObject({
      user: 'ten',
      port: 1,
      hostName: 'of-system',
    });
    expect(settings('b', 'Host a\n  Include config.d/*\nHost *\n  Port 2', more)).toMatchObject({
      user: 'system',
      port: 2,
    });
  });

  test('that include each other without an end, or are too many, are refused', () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, each) => [`/m/${each}`, '']));
    expect(() => settings('a', 'Include config')).toThrow(/deep/);
    expect(() => settings('a', 'Include /m/*', many)).toThrow(/more than 256 files/);
    expect(() => settings('a', '\n'.repeat(100_001))).toThrow(/config:100001: more than 100000 lines/);
  });

  test('a quote without an end, or a port that is none, is named with its line', () => {
    expect(() => settings('a', '\nUser "x')).toThrow(/config:2: a " has no end/);
    expect(() => settings('a', 'Host a\nPort http')).toThrow(/config:2: port is no whole number/);
    expect(wordsOf(` a  "b c"'d' e\\ f "" # g`)).toEqual(['a', 'b cd', 'e f', '']);
  });
});

describe('what is not followed', () => {
  test.each<[string, RegExp]>([
    ['ProxyCommand nc %h %p', /config:1: the way to a is a ProxyCommand/],
    ['Match exec "true"\n  HostName b', /config:2: .*depends on "Match exec"/],
    ['Match final\n  Port 3', /config:2: .*depends on "Match final"/],
    ['Match tagged x\n  Include more', /more:1: .*"Match tagged"/],
    ['IdentityFile ~/%C', /%C, which is not followed/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as files have it
    ['IdentityFile ${NOT_THERE}/x', /no such variable/],
  ])('%j is refused where it would count', (text, reason) => {
    const files = filesOf({ '/home/me/.ssh/config': text, '/home/me/.ssh/more': 'User x' });
    const target = parseTarget('ssh://a') as SshTarget;
    expect(() => routeTo(target, files, { ...places, environment: {} })).toThrow(reason);
  });

  test.each([
    'Host b\n  ProxyCommand nc %h %p',
    'ProxyCommand none',
    'ProxyJump none\nProxyCommand nc %h %p',
    'HostName b\nMatch exec "true"\n  HostName c',
    'Match exec "true" originalhost b\n  HostName c',
    'Match final\n  Ciphers aes128-ctr',
    'ForwardAgent yes\nLocalCommand rm -rf /\nPermitLocalCommand yes\nNonsense 1',
  ])('%j is left out where it does not', (text) => {
    expect(() => route('ssh://a', text)).not.toThrow();
  });
});

describe('a route', () => {
  test('without a configuration: this user, port 22, the usual keys and files', () => {
    expect(route('ssh://a', '', { SSH_AUTH_SOCK: '/agent' })).toEqual([
      {
        name: 'a',
        host: 'a',
        port: 22,
        user: 'me',
        hostKeyName: 'a',
        knownHosts: [
          '/home/me/.ssh/known_hosts',
          '/home/me/.ssh/known_hosts2',
          '/etc/ssh/ssh_known_hosts',
          '/etc/ssh/ssh_known_hosts2',
        ],
        hashKnownHosts: false,
        identities: ['/home/me/.ssh/id_rsa', '/home/me/.ssh/id_ecdsa', '/home/me/.ssh/id_ed25519'],
        identitiesOnly: false,
        authSocket: '/agent',
        keepaliveMs: 15_000,
        keepaliveMax: 3,
      },
    ]);
  });

  test('what the target says goes before files', () => {
    const [hop] = route(
      'ssh://alice@a:99',
      'User bob\nPort 1\nHostName b\nIdentityFile %d/%r@%h:%p\nIdentityAgent none',
      {
        SSH_AUTH_SOCK: '/agent',
      },
    );
    expect(hop).toMatchObject({ user: 'alice', port: 99, host: 'b', hostKeyName: '[b]:99' });
    expect(hop?.identities).toEqual(['/home/me/alice@b:99']);
    expect(hop?.authSocket).toBeUndefined();
  });

  test('goes over jump hosts, each by its own configuration, the first by its own jump host too', () => {
    const text = [
      'Host target\n  ProxyJump root@one:2201,two',
      'Host one\n  HostName one.example.org\n  ProxyJump zero\n  User ignored',
      'Host two\n  User second\n  ProxyJump never',
    ].join('\n');
    expect(route('ssh://target', text).map(({ user, host, port }) => `${user}@${host}:${port}`)).toEqual([
      'me@zero:22',
      'root@one.example.org:2201',
      'second@two:22',
      'me@target:22',
    ]);
  });

  test('that leads to itself, or over what is no host, is refused', () => {
    expect(() => route('ssh://a', 'ProxyJump a')).toThrow(/more than 8 hosts/);
    expect(() => route('ssh://a', 'Host a\n  ProxyJump -oProxyCommand=x')).toThrow(/expected \[USER@\]HOST/);
  });
});
