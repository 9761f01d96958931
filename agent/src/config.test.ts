// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type AgentConfig, environmentName, helpText, readCommand } from './config.js';

function config(args: string[], environment: Record<string, string> = {}): AgentConfig {
  const command = readCommand(args, environment);
  if (command.kind !== 'run') throw new Error(JSON.stringify(command));
  return command.config;
}

function mistakes(args: string[], environment: Record<string, string> = {}): readonly string[] {
  const command = readCommand(args, environment);
  return command.kind === 'mistakes' ? command.mistakes : [];
}

test('interfaces, programs and addresses of the packet tiers', () => {
  expect(config([])).toMatchObject({
    interfaces: [],
    bpfDir: '/sys/fs/bpf/marcher',
    xdpMode: 'auto',
    egressShaping: 'auto',
    natFastPath: 'auto',
    decapsulated: [],
    decapsulateMtu: 0,
    guePort: 6080,
  });
  const args = [
    '--bpf-dir',
    '/b/m',
    '--xdp',
    'generic',
    '--egress-shaping',
    'fq',
    '--nat-fast-path',
    'off',
    '--decapsulate',
    '192.0.2.1,2001:db8::1',
    '--gue-port',
    '6081',
    '--decapsulate-mtu',
    '9000',
  ];
  expect(config(args, { MARCHER_INTERFACES: 'eth0, eth0.5,wlan-1' })).toMatchObject({
    interfaces: ['eth0', 'eth0.5', 'wlan-1'],
    bpfDir: '/b/m',
    xdpMode: 'generic',
    egressShaping: 'fq',
    natFastPath: 'off',
    decapsulated: ['192.0.2.1', '2001:db8::1'],
    guePort: 6081,
    decapsulateMtu: 9000,
  });
  expect(config(['--interfaces', 'none']).interfaces).toEqual([]);
  for (const [wrong, expected] of [
    [['--interfaces', 'eth0,'], /names "", which is no interface/],
    [['--interfaces', 'sixteen-letters-'], /no interface/],
    [['--interfaces', 'a/b'], /no interface/],
    [['--interfaces', 'eth0,eth0'], /eth0 twice/],
    [['--interfaces', Array.from({ length: 65 }, (_, i) => `e${i}`).join()], /more than 64/],
    [['--xdp', 'nativ'], /did you mean native/],
    [['--egress-shaping', 'hbt'], /did you mean htb/],
    [['--nat-fast-path', 'on'], /write auto, off/],
    [['--egress-shaping', 'cake'], /write auto, fq, htb, off/],
    [['--interfaces', 'e', '--decapsulate', '192.0.2.1/32'], /no IP address/],
    [['--interfaces', 'e', '--decapsulate', 'fe80::1%e'], /no IP address/],
    [['--decapsulate', '192.0.2.1'], /--interfaces/],
    [['--nat-flows', '65536'], /no effect without --interfaces/],
    [['--interfaces', 'e', '--nat-flows', '1000'], /1024 to 8388608/],
    [['--interfaces', 'e', '--nat-flows', 'many'], /1024 to 8388608/],
    [['--decapsulate-mtu', '1500'], /no effect without --decapsulate/],
    [['--interfaces', 'e', '--decapsulate', '192.0.2.1', '--decapsulate-mtu', '1279'], /1280 to 65535/],
    [['--interfaces', 'e', '--decapsulate', '192.0.2.1', '--decapsulate-mtu', '65536'], /1280 to 65535/],
    [['--gue-port', '70000'], /not a port/],
    [['--gue-port', '1e3'], /not a port/],
  ] as const) {
    const found = mistakes([...wrong]);
    expect(found, wrong.join(' ')).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  }
});

test('options and variables mean the same, and the option wins', () => {
  expect(config(['--node-name', 'a', '--workers=3'])).toMatchObject({ nodeName: 'a', workers: 3 });
  expect(config([], { MARCHER_NODE_NAME: 'b', MARCHER_STOP_ENGINE_ON_EXIT: '1' })).toMatchObject({
    nodeName: 'b',
    stopEngineOnExit: true,
  });
  expect(config(['--node-name', 'a'], { MARCHER_NODE_NAME: 'b' }).nodeName).toBe('a');
  expect(config(['--api', '[::1]:7070', '--metrics', '0.0.0.0:9464'])).toMatchObject({
    api: { host: '::1', port: 7070 },
    metrics: { host: '0.0.0.0', port: 9464 },
  });
  expect(config(['--state', '/s'])).toMatchObject({
    stateDir: '/s',
    runDir: '/s/run',
    socketPath: '/run/marcher/marcher.sock',
    api: undefined,
  });
});

test('the API is plain on loopback, and TLS elsewhere or where it has a certificate of its own', () => {
  const mesh = ['--mesh', '192.0.2.1:7400'];
  expect(config([...mesh, '--api', '127.0.0.1:7443'])).toMatchObject({ remoteApi: undefined });
  expect(config([...mesh, '--api', '0.0.0.0:7443'])).toMatchObject({
    api: undefined,
    remoteApi: { address: { host: '0.0.0.0', port: 7443 }, certificate: undefined },
  });
  expect(config([...mesh, '--api', 'localhost:7443', '--api-certificate', '/c', '--api-key-file', '/k'])).toMatchObject(
    {
      api: undefined,
      remoteApi: { address: { host: '127.0.0.1', port: 7443 }, certificate: { certificate: '/c', key: '/k' } },
    },
  );
  expect(mistakes([...mesh, '--api', '192.0.2.1:7443', '--api-certificate', '/c'])).toEqual([
    expect.stringContaining('needs its key: --api-key-file FILE'),
  ]);
});

describe('impossible values are refused with the reason', () => {
  const table: [string[], string][] = [
    [['--wokers', '2'], '--wokers is not a known option: did you mean --workers?'],
    [['start'], '"start" is not an option'],
    [['--state'], '--state has no value: write --state DIR'],
    [['--state', '--workers', '2'], '--state has no value'],
    [['--region='], '--region is empty'],
    [['--workers', '0'], '--workers "0" is not a number of threads'],
    [['--workers', '1', '--workers', '2'], '--workers is given twice'],
    [['--cpus', '3-1'], '--cpus "3-1" is not a list of cores'],
    [['--engine', '/does/not/exist'], 'does not exist'],
    [['--country', 'XX'], 'is not a country code'],
    [['--api', '0.0.0.0:1'], 'is not a loopback address, and only a mesh has users'],
    [['--api', '127.0.0.1:1', '--api-certificate', 'c', '--api-key-file', 'k'], 'only a mesh has users'],
    [['--api', '127.0.0.1:1', '--api-key-file', 'k'], 'has no effect without --api-certificate'],
    [['--api-certificate', 'c', '--api-key-file', 'k'], 'has no effect without --api'],
    [['--api', 'localhost'], 'is not an address'],
    [['--metrics', '127.0.0.1:99999'], 'is not an address'],
    [['--log-level', 'inof'], 'did you mean info?'],
    [['--socket', `/${'a'.repeat(120)}`], 'is longer than 103 bytes'],
  ];
  for (const [args, expected] of table) {
    test('a mesh: its address, whom to join by, where the CA key is sealed', () => {
      expect(config([]).mesh).toBeUndefined();
      expect(config(['--state', '/s', '--mesh', '192.0.2.1:7400']).mesh).toEqual({
        address: { host: '192.0.2.1', port: 7400 },
        join: undefined,
        caKeyFile: '/s/ca.key',
      });
      const joining = ['--mesh', '[2001:db8::1]:7400', '--join', '192.0.2.2:7400', '--join-token-file', '/t'];
      expect(config([...joining, '--ca-key-file', '/k']).mesh).toEqual({
        address: { host: '2001:db8::1', port: 7400 },
        join: { host: '192.0.2.2', port: 7400, tokenFile: '/t' },
        caKeyFile: '/k',
      });
    });

    test.each([
      [['--mesh', '0.0.0.0:7400'], 'is not one address and port'],
      [['--mesh', '[::]:7400'], 'is not one address and port'],
      [['--mesh', '192.0.2.1:0'], 'is not one address and port'],
      [['--mesh', '192.0.2.1:65535'], 'is not one address and port'],
      [['--mesh', 'node1:7400'], 'is not an address'],
      [['--join', '192.0.2.2:7400', '--join-token-file', '/t'], 'has no effect without --mesh'],
      [['--mesh', '192.0.2.1:7400', '--join', '192.0.2.2:7400'], 'needs --join-token-file'],
      [['--mesh', '192.0.2.1:7400', '--join-token-file', '/t'], 'has no effect without --join'],
      [['--ca-key-file', '/k'], 'has no effect without --mesh'],
      [['--certificates-dir', '/c'], 'has no effect without --mesh'],
    ])('%j of a mesh is refused: %s', (args, reason) => {
      expect(mistakes(args).join('; ')).toContain(reason);
    });

    test(args.join(' '), () => {
      const found = mistakes(args);
      expect(found).toHaveLength(1);
      expect(found[0]).toContain(expected);
    });
  }
});

test('all mistakes are reported at once, those of the environment too', () => {
  expect(mistakes(['--workers', 'x', '--cuontry', 'DE'], { MARCHER_WORKRS: '2', MARCHER_COUNTRY: 'de' })).toHaveLength(
    4,
  );
});

test('help names every option and is no configuration', () => {
  expect(readCommand(['--help'], {}).kind).toBe('help');
  expect(readCommand(['--version'], {}).kind).toBe('version');
  for (const name of [
    'state',
    'config',
    'api',
    'socket',
    'metrics',
    'workers',
    'cpus',
    'engine',
    'node-name',
    'region',
    'country',
  ]) {
    expect(helpText()).toContain(`--${name}`);
  }
  expect(environmentName('node-name')).toBe('MARCHER_NODE_NAME');
});

describe('uninstall-dataplane', () => {
  const uninstall = (...args: string[]) => readCommand(['uninstall-dataplane', ...args], {});

  test('takes the directory, the library and nothing else', () => {
    expect(uninstall()).toEqual({
      kind: 'uninstall',
      uninstall: { bpfDir: '/sys/fs/bpf/marcher', libraryPath: undefined, dryRun: false },
    });
    expect(uninstall('--bpf-dir=/b/m', '--dry-run')).toMatchObject({ uninstall: { bpfDir: '/b/m', dryRun: true } });
    const environment = { MARCHER_BPF_DIR: '/b/n', MARCHER_WORKERS: 'not looked at' };
    expect(readCommand(['uninstall-dataplane'], environment)).toMatchObject({
      uninstall: { bpfDir: '/b/n', dryRun: false },
    });
    expect(readCommand(['uninstall-dataplane'], { MARCHER_DRY_RUN: '1' }).kind).toBe('mistakes');
    for (const wrong of [['--workers', '2'], ['now'], ['--library', '/nonexistent'], ['--dry-run=maybe']]) {
      expect(uninstall(...wrong).kind, wrong.join(' ')).toBe('mistakes');
    }
    expect(readCommand(['--dry-run'], {}).kind).toBe('mistakes');
  });

  test('is in the help, has one of its own, and is guessed', () => {
    expect(helpText()).toContain('marcherd uninstall-dataplane [--bpf-dir DIR] [--dry-run]');
    expect(uninstall('--help')).toMatchObject({ kind: 'help', text: expect.stringContaining('--dry-run') });
    expect(mistakes(['uninstall-dataplan'])).toEqual([expect.stringContaining('did you mean uninstall-dataplane?')]);
  });
});
