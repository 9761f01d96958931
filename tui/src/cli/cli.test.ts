// SPDX-License-Identifier: Apache-2.0
/** The command line as a user has it: the wrapper, the built program, a socket, exit codes, streams. */
import { execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { create } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { GuardAction, ObjectSchema } from '@marcher/model';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FakeAgent, startFakeAgent, violationError } from '../testing/fake-agent.js';

const root = join(import.meta.dirname, '../../..');
const marcher = join(root, 'tui/bin/marcher');
const tsc = join(root, 'node_modules/.bin/tsc');
let directory: string;
let socket: string;
let agent: FakeAgent;

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function environment(extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: directory,
    XDG_CACHE_HOME: join(root, '.cache'),
    MARCHER_TARGET: `unix:${socket}`,
    ...extra,
  };
}

async function run(
  args: readonly string[],
  options: { stdin?: string; env?: Record<string, string> } = {},
): Promise<Result> {
  const child = spawn(marcher, args, { env: environment(options.env), stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin ?? '');
  const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)));
  return { code, stdout, stderr };
}

const file = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};
const web = `apiVersion: marcher/v1
services:
  - name: web
    listeners: [{ protocol: tcp, port: 5001 }]
    backends: [{ address: "10.0.0.11:8080" }]
`;

beforeAll(async () => {
  // The tests are about what is shipped: it is built, at most a few seconds, when it is not yet.
  await promisify(execFile)(tsc, ['-b', join(root, 'tui')], { env: process.env });
  directory = mkdtempSync(join(tmpdir(), 'marcher-cli-'));
  socket = join(directory, 'api.sock');
  agent = await startFakeAgent(socket);
}, 120_000);

afterAll(async () => {
  await agent.close();
  rmSync(directory, { recursive: true, force: true });
});

beforeEach(() => {
  agent.services.clear();
  agent.objects.clear();
  agent.beforePlan = () => undefined;
  agent.calls.length = 0;
  agent.version = 0n;
  agent.failure = undefined;
});

test.each([{ args: [] }, { args: ['-t', 'unix:/nowhere'] }])(
  'the console is not opened where there is no terminal: $args',
  async ({ args }) => {
    const { code, stdout, stderr } = await run(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Usage: marcher');
    expect(stderr).toContain('marcher status -o json');
  },
);

test.each(['--record', '--replay'])('a command takes no %s, which is for the console', async (option) => {
  const { code, stdout, stderr } = await run([option, join(directory, 'a.jsonl'), 'status']);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain(`${option} is for the console`);
});

describe('apply and plan', () => {
  test('apply shows the diff, then says that nothing changes', async () => {
    const path = file('web.yaml', web);
    const first = await run(['apply', '-f', path, '-m', 'why']);
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toBe('+ service web\n\nApplied version 1 of 1 service: 1 created, 0 changed, 0 removed.\n');
    expect(agent.calls).toEqual(['apply why']);
    expect((await run(['apply', '-f', path])).stdout).toMatch(/^No changes: version 1/);
    const changed = await run(['plan', '-f', '-'], { stdin: web.replace('8080', '8081') });
    expect(changed.stdout).toBe(
      '~ service web\n    ~ backends[0].weight  1 -> 2\n\nPlan: 0 to create, 1 to change, 0 to remove (from version 1).\n',
    );
    expect(
      (await run(['apply', '-f', '-', '--prune', '--dry-run'], { stdin: 'apiVersion: marcher/v1\nservices: []\n' }))
        .stdout,
    ).toContain('- service web');
    expect(agent.services.size).toBe(1);
  });

  test('plan --detailed-exitcode: 0 without, 2 with changes, 1 on any error', async () => {
    const path = file('web.yaml', web);
    expect((await run(['plan', '-f', path, '--detailed-exitcode'])).code).toBe(2);
    await run(['apply', '-f', path]);
    expect((await run(['plan', '-f', path, '--detailed-exitcode'])).code).toBe(0);
    expect((await run(['plan', '-f', path, '--detailed-exitcode', '--nonsense'])).code).toBe(1);
    expect((await run(['plan', '-f', path, '--detailed-exitcode', '-t', 'unix:/nonexistent'])).code).toBe(1);
  });

  test('an invalid file is refused with line, reason and fix, and exit code 3', async () => {
    const result = await run(['apply', '-f', file('bad.yaml', web.replace('port: 5001', 'prot: 5001'))]);
    expect(result.code).toBe(3);
    expect(result.stdout).toBe('');
    expect(result.stderr).toMatch(/bad\.yaml:4:\d+: services\[0\]\.listeners\[0\]/);
    expect(result.stderr).toContain('fix:');
    expect(agent.calls).toEqual([]);
  });

  test('what the agent finds wrong is shown with the line of the file', async () => {
    agent.failure = violationError(Code.InvalidArgument, 'not valid', 'services[0].backends[0].address');
    const result = await run(['apply', '-f', file('web.yaml', web)]);
    expect(result.code).toBe(3);
    expect(result.stderr).toMatch(
      /web\.yaml:5:\d+: services\[0\]\.backends\[0\]\.address: it is wrong\n\s+fix: write it right/,
    );
  });

  test('a change that too few nodes have in time is in force, and its exit code says so', async () => {
    const path = file('web.yaml', web);
    agent.acks = 1;
    const few = await run(['apply', '-f', path, '-m', 'a', '--min-acks', '2', '--ack-timeout', '250ms']);
    expect([few.code, agent.calls.at(-1), agent.version]).toEqual([10, 'apply a acks 2 in 250 ms', 1n]);
    expect(few.stderr).toContain('in force at this node, but only 1 other node has it so far, of 2');
    // What is there already is not written, so nobody acknowledges it.
    expect((await run(['apply', '-f', path, '--min-acks', '2'])).code).toBe(0);
    agent.acks = 2;
    const removed = await run(['delete', 'service', 'web', '--min-acks', '2']);
    expect([removed.code, removed.stderr]).toEqual([0, '']);
    expect(removed.stdout).toContain('2 other nodes have it on disk.');
    expect((await run(['apply', '-f', path, '--min-acks', '0'])).code).toBe(2);
  });

  test('exit codes tell conflict, refusal, denial, absence and an unreachable agent apart', async () => {
    const path = file('web.yaml', web);
    expect((await run(['apply', '-f', path, '--expected-version', '7'])).code).toBe(4);
    agent.failure = violationError(Code.FailedPrecondition, 'the data plane refused it', 'services[0]');
    expect((await run(['apply', '-f', path])).code).toBe(6);
    agent.failure = violationError(Code.PermissionDenied, 'no', '');
    expect((await run(['apply', '-f', path])).code).toBe(7);
    expect((await run(['get', 'service', 'none'])).code).toBe(8);
    expect((await run(['status', '-t', 'unix:/nonexistent'])).code).toBe(5);
    expect((await run(['-t', '127.0.0.1:1', 'status'])).code).toBe(5);
    expect((await run(['apply', '-f', join(directory, 'missing.yaml')])).code).toBe(1);
  });

  test('ten thousand services go through at once', async () => {
    const lines = Array.from(
      { length: 10_000 },
      (_, i) =>
        `  - { name: s${i}, listeners: [{ protocol: tcp, port: ${1024 + (i % 60000)} }], backends: [{ address: "10.0.0.1:80" }] }`,
    );
    const result = await run(['apply', '-f', '-'], {
      stdin: `apiVersion: marcher/v1\nservices:\n${lines.join('\n')}\n`,
    });
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toMatch(/^Applied version 1 of 10000 services/);
    expect((await run(['get', 'services'])).stdout.split('\n')).toHaveLength(10_002);
  }, 60_000);
});

describe('reading', () => {
  beforeEach(async () => {
    await run(['apply', '-f', file('web.yaml', web)]);
  });

  test('tables are aligned, and YAML and JSON can be applied again', async () => {
    expect((await run(['get', 'svc'])).stdout).toBe(
      'NAME   LISTENERS   BACKENDS   ALGORITHM   VERSION   STATE\nweb    tcp:5001           1   default           1   Programmed\n',
    );
    for (const form of ['yaml', 'json']) {
      const { stdout } = await run(['get', 'services', 'web', '-o', form]);
      expect((await run(['apply', '-f', '-'], { stdin: stdout })).stdout).toMatch(/^No changes/);
    }
    expect((await run(['get', 'backends', 'web'])).stdout).toMatch(/web\s+10\.0\.0\.11:8080\s+1\s+0\s+healthy/);
    expect((await run(['get', 'backends', '-o', 'wide'])).stdout).toMatch(/healthy\s+-\s+10\.0\.0\.11:8080/);
    agent.elsewhere = 42n;
    expect((await run(['get', 'backends', '-o', 'wide'])).stdout).toMatch(/ELSEWHERE.*\n.*healthy\s+42\s/);
    expect((await run(['get', 'listeners'])).stdout).toMatch(/web\s+tcp\s+\*\s+5001/);
    expect((await run(['get', 'nodes', '-o', 'yaml'])).stdout).toContain('nodeName: north');
    expect((await run(['get', 'nodes', 'south'])).code).toBe(8);
  });

  test('status, explain, history, connections, stats and version', async () => {
    const { stdout } = await run(['status']);
    expect(stdout).toContain('north: ready');
    // This agent does not know the mesh's calls.
    expect(stdout).not.toContain('Mesh');
    expect(stdout).toContain('XDP      eth0: native\nXDP      eth1: not attached (there is no such interface)\n');
    expect(stdout).toMatch(/TIER +SERVICES +PACKETS-IN +IN +SHARE-IN +OUT\nxdp +1 +12 +3\.0KiB +75\.0% +-\n/);
    expect(stdout).toMatch(/relay +2 +5 +1\.0KiB +25\.0% +4\.0KiB\nDropped by XDP and tc: no-backend 3\n$/);
    expect((await run(['explain', 'service', 'web'])).stdout).toContain('XDP has forwarded 4 packets, 2.0KiB\n');
    expect((await run(['explain', 'service', 'web'])).stdout).toMatch(
      /tier relay, because\n {2}- nothing faster is there/,
    );
    expect((await run(['history'])).stdout).toMatch(/1 {3}\d{4}-.* {3}root \(uid 0\) {3}api {6}\+1 ~0 -0 {3}first/);
    expect((await run(['connections', '-o', 'json'])).stdout).toContain('"client": "10.0.0.9:1234"');
    expect((await run(['stats'])).stdout).toMatch(/web\s+10\s+10\s+0B\s+4\.0KiB/);
    expect((await run(['version', '--agent'])).stdout).toMatch(/^marcher \d.*\nmarcherd 9\.9\.9/);
    expect((await run(['revert', '1'])).stdout).toContain('Reverted to version 1 as version 2');
    expect((await run(['revert', '99'])).code).toBe(8);
  });

  test('explain tells how packets are forwarded, and the check that is the default', async () => {
    const text = web.replace('name: web', 'name: vip\n    health: {}\n    forwarding: { mode: ipip }');
    expect((await run(['apply', '-f', '-'], { stdin: text })).code).toBe(0);
    expect((await run(['explain', 'service', 'vip'])).stdout).toContain('health check tcp, forwarding ipip\n');
  });

  test('drain wants a backend with a service, and tells what is left', async () => {
    expect((await run(['drain', 'web'])).code).toBe(2);
    expect((await run(['drain', 'web', '10.0.0.11:8080'])).stdout).toContain('2 connections may finish');
    expect((await run(['undrain'])).stdout).toContain('The node takes new connections again');
    expect(agent.calls.slice(-2)).toEqual(['drain web/10.0.0.11:8080', 'undrain /']);
  });

  test('control characters of a log entry do not reach the terminal', async () => {
    const { stdout } = await run(['logs', 'web']);
    expect(stdout).toContain('evil');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
    expect(stdout).not.toMatch(/[\u001b\u0007]/);
    expect(JSON.parse((await run(['logs', 'web', '-o', 'json'])).stdout)).toMatchObject({ service: 'web' });
  });

  test('colour only where it is wanted', async () => {
    expect((await run(['get', 'svc'], { env: { FORCE_COLOR: '1' } })).stdout).toContain('\u001b[32mProgrammed');
    expect((await run(['get', 'svc'], { env: { NO_COLOR: '1' } })).stdout).not.toContain('\u001b');
  });

  test('a reader that leaves early is no error', async () => {
    const command = `"${marcher}" stats --watch 100ms -o json | head -n 2; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await promisify(execFile)('bash', ['-c', command], { env: environment() });
    expect(stderr).toBe('');
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('0');
  });

  test('Ctrl-C ends a watch quietly with 130', async () => {
    const child = spawn(marcher, ['watch', 'services'], { env: environment(), stdio: 'pipe' });
    let output = '';
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    await new Promise<void>((resolve) =>
      child.stdout.on('data', (data) => {
        output += data;
        if (output.includes('SYNCED')) resolve();
      }),
    );
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect([code, errors]).toEqual([130, '']);
    expect(output).toMatch(/^EXISTS\s+web/);
  });
});

const kinds = `apiVersion: marcher/v1
services:
  - name: web
    listeners: [{ protocol: tcp, port: 5001 }]
    backends: [{ address: "10.0.0.11:8080" }]
    trafficPolicy: gold
guards:
  - name: edge
    rules:
      - { action: deny, sources: [203.0.113.0/24, "2001:db8::/32"], protocol: tcp, ports: [22, 8000-8100] }
      - { action: redirect, redirect: { device: eth1 } }
    sourceLimits: { packetsPerSecond: 10000 }
trafficPolicies:
  - { name: gold, priority: P0, ingress: { rate: 1.5Gbit }, dscp: EF }
`;

describe('guards and traffic policies', () => {
  test('are applied with services, listed, shown as files, exported and deleted', async () => {
    const applied = await run(['apply', '-f', file('kinds.yaml', kinds)]);
    expect(applied).toMatchObject({ code: 0, stderr: '' });
    expect(applied.stdout).toBe(
      '+ guard edge\n+ traffic policy gold\n+ service web\n\n' +
        'Applied version 1 of 1 service, 1 guard and 1 traffic policy: 3 created, 0 changed, 0 removed.\n',
    );
    const [guards, policies, one, none, exported] = await Promise.all([
      run(['get', 'guards']),
      run(['get', 'policies']),
      run(['get', 'policy', 'gold', '-o', 'yaml']),
      run(['get', 'guard', 'none']),
      run(['export']),
    ]);
    expect(guards.stdout).toBe(
      'NAME   DEFAULT   RULES   SOURCES   SOURCE-LIMITS   SYN-COOKIES   VERSION   STATE\n' +
        'edge   allow         2         2   10000pkt/s      auto                1   Accepted\n',
    );
    expect(policies.stdout).toBe(
      'NAME   PRIORITY    INGRESS   EGRESS   CONNECTIONS   DSCP   VERSION   STATE\n' +
        'gold   P0         1500Mbit        -             -   EF           1   Accepted\n',
    );
    expect(one.stdout).toMatch(/^apiVersion: marcher\/v1\ntrafficPolicies:\n {2}- name: gold\n/);
    expect(none.code).toBe(8);
    expect((await run(['apply', '-f', '-', '--prune'], { stdin: exported.stdout })).stdout).toMatch(/^No changes/);
    const deleted = await run(['delete', 'guard', 'edge', '-m', 'why']);
    expect(deleted).toMatchObject({ code: 0, stdout: '- guard edge\n\nApplied version 2.\n' });
    expect(agent.calls.at(-1)).toBe('apply why');
    const [guard, service] = await Promise.all([run(['delete', 'guard', 'edge']), run(['delete', 'service', 'none'])]);
    expect([guard.code, service.code]).toEqual([8, 8]);
    await run(['delete', 'service', 'web']);
    expect([...agent.services.keys(), ...agent.objects.keys()]).toEqual(['TrafficPolicy/gold']);
  }, 60_000);

  test('what the agent finds wrong in them is shown with the line of the file, of several', async () => {
    agent.failure = violationError(Code.InvalidArgument, 'not valid', 'guards[1].rules[0].sources[1]');
    const more =
      'apiVersion: marcher/v1\nguards:\n  - name: more\n    rules:\n      - action: deny\n        sources: [x]\n';
    const result = await run(['apply', '-f', file('more.yaml', more), '-f', file('kinds.yaml', kinds)]);
    expect(result.code).toBe(3);
    expect(result.stderr).toMatch(/kinds\.yaml:10:51: guards\[0\]\.rules\[0\]\.sources\[1\]: it is wrong/);
  });

  test('an operator denies and allows sources in a guard of its own', async () => {
    await run(['apply', '-f', file('kinds.yaml', kinds)]);
    const denied = await run(['guard', 'deny', '198.51.100.0/24', '2001:DB8:0::1/128']);
    expect(denied).toMatchObject({ code: 0, stdout: '+ guard operator\n\nApplied version 2.\n' });
    expect(agent.calls.at(-1)).toBe('apply guard deny 198.51.100.0/24 2001:DB8:0::1/128');
    await run(['guard', 'deny', '192.0.2.7/32', '--protocol', 'tcp', '--ports', '22,8000-8100']);
    expect((await run(['guard', 'deny', '192.0.2.7', '--protocol', 'tcp', '--ports', '22,8000-8100'])).stdout).toMatch(
      /^No changes/,
    );
    // The other verdict takes the place of the first.
    await run(['guard', 'allow', '2001:db8::1', '--unlimited']);
    expect((await run(['guard', 'list'])).stdout).toBe(
      [
        'SOURCE            ACTION     PROTOCOL   PORTS          GUARD      HOW',
        '203.0.113.0/24    deny       tcp        22,8000-8100   edge       -',
        '2001:db8::/32     deny       tcp        22,8000-8100   edge       -',
        '*                 redirect   *          *              edge       to device eth1',
        '198.51.100.0/24   deny       *          *              operator   -',
        '192.0.2.7         deny       tcp        22,8000-8100   operator   -',
        '2001:db8::1       allow      *          *              operator   unlimited',
        '',
      ].join('\n'),
    );
    const [json, missing, unplaced, portless, bare] = await Promise.all([
      run(['guard', 'list', '-o', 'json']),
      run(['guard', 'remove', '203.0.113.0/24']),
      run(['guard', 'remove', '192.0.2.7', '--protocol', 'udp']),
      run(['guard', 'deny', '192.0.2.1', '--ports', '22']),
      run(['guard', 'deny']),
    ]);
    expect(JSON.parse(json.stdout)).toHaveLength(5);
    expect([missing.code, missing.stderr]).toEqual([8, expect.stringContaining('guard operator says nothing of')]);
    expect([unplaced.code, portless.code, bare.code]).toEqual([8, 2, 2]);
    const all = ['192.0.2.7', '2001:db8::1', '198.51.100.0/24'];
    expect((await run(['guard', 'remove', ...all, '--dry-run'])).stdout).toContain('- guard operator\n\nPlan: ');
    expect((await run(['guard', 'remove', ...all])).stdout).toBe('- guard operator\n\nApplied version 5.\n');
    expect([...agent.objects.keys()]).toEqual(['Guard/edge', 'TrafficPolicy/gold']);
  }, 60_000);

  test('a change of somebody else at the same time is neither lost nor overwritten', async () => {
    const rules = [{ action: GuardAction.DENY, sources: ['192.0.2.1'] }];
    const theirs = create(ObjectSchema, { object: { case: 'guard', value: { name: 'operator', rules } } });
    let meanwhile = 2;
    agent.beforePlan = () => {
      if (meanwhile-- <= 0) return;
      agent.version++;
      agent.objects.set('Guard/operator', theirs);
    };
    expect((await run(['guard', 'deny', '192.0.2.2'])).code).toBe(0);
    const { object } = agent.objects.get('Guard/operator') ?? {};
    expect(object?.value).toMatchObject({ rules: [{ sources: ['192.0.2.1', '192.0.2.2'] }] });
    agent.beforePlan = () => {
      agent.version++;
    };
    expect((await run(['guard', 'deny', '192.0.2.3'])).code).toBe(4);
  });
});

describe('the command line itself', () => {
  test('what is mistyped is named, with a suggestion and exit code 2', async () => {
    const command = await run(['aply']);
    expect(command.code).toBe(2);
    expect(command.stderr).toMatch(/unknown command 'aply'[\s\S]*Did you mean apply/);
    expect((await run(['get', 'services', '--ouput', 'json'])).stderr).toMatch(/Did you mean --output/);
    expect((await run(['get', 'service2'])).stderr).toMatch(/did you mean services\?/);
    expect((await run(['get', 'services', '-o', 'xml'])).code).toBe(2);
    expect((await run(['status', '-t', 'nonsense'])).stderr).toMatch(/no target "nonsense".* unix:PATH or HOST:PORT/);
    expect((await run([])).code).toBe(2);
  });

  test.each([
    [['apply']],
    [['plan']],
    [['get']],
    [['watch']],
    [['delete']],
    [['export']],
    [['guard', 'deny']],
    [['status']],
    [['stats']],
    [['connections']],
    [['logs']],
    [['history']],
    [['revert']],
    [['drain']],
    [['undrain']],
    [['explain']],
    [['import']],
    [['completion']],
    [['uninstall-dataplane']],
    [['mesh']],
    [['mesh', 'token']],
    [['mesh', 'tokens']],
    [['user']],
    [['key']],
    [['version']],
    [['test', 'ping']],
    [['test', 'balance']],
    [['test', 'simulate']],
  ])('%s --help has examples', async (command) => {
    const { code, stdout } = await run([...command, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}.*marcher/);
  });

  test('import prints YAML that apply takes', async () => {
    const path = file('fproxy.json', '{"Apps":[{"Name":"app1","Ports":[5001],"Targets":["127.0.0.1:6001"]}]}');
    const { code, stdout } = await run(['import', path]);
    expect(code).toBe(0);
    expect((await run(['apply', '-f', '-'], { stdin: stdout })).stdout).toContain('+ service app1');
    expect((await run(['import', file('broken.json', '{')])).code).toBe(3);
  });
});

describe('uninstall-dataplane', () => {
  test('asks marcherd, not an agent, and ends with what came of it', async () => {
    const env = { MARCHER_TARGET: 'unix:/nonexistent' };
    const missing = await run(['uninstall-dataplane', '--bpf-dir', join(directory, 'pins'), '--dry-run'], { env });
    // Without privileges libmarcher says what is missing; with them there is nothing.
    expect(missing.stdout + missing.stderr).toMatch(
      /^marcherd: (nothing of Marcher's is in|the packet tiers need CAP_BPF)/,
    );
    const wrong = await run(['uninstall-dataplane', '--library', '/nonexistent/lib.so'], { env });
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('--library "/nonexistent/lib.so"') });
    expect((await run(['uninstall-dataplane', 'now'], { env })).code).toBe(2);
  });
});

describe('completion', () => {
  const complete = async (...words: string[]): Promise<string[]> =>
    (await run(['__complete', ...words])).stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t')[0] ?? '');

  test('commands, kinds, live names, flags, choices and files', async () => {
    await run(['apply', '-f', file('web.yaml', web)]);
    expect(await complete('un')).toEqual(['undrain', 'uninstall-dataplane']);
    expect(await complete('uninstall-dataplane', '--d')).toEqual(['--dry-run']);
    expect(await complete('uninstall-dataplane', '--bpf-dir', '')).toContain(':files');
    expect(await complete('test', '')).toEqual(['ping', 'balance', 'simulate']);
    expect(await complete('get', '')).toEqual(['services', 'backends', 'listeners', 'guards', 'policies', 'nodes']);
    expect(await complete('get', 'services', 'w')).toEqual(['web']);
    expect(await complete('drain', 'web', '')).toEqual(['10.0.0.11:8080']);
    expect(await complete('get', 'services', '-o', '')).toEqual(['table', 'wide', 'json', 'yaml']);
    expect(await complete('apply', '--pr')).toEqual(['--prune']);
    expect(await complete('guard', '')).toEqual(['deny', 'allow', 'remove', 'list']);
    await run(['guard', 'deny', '203.0.113.0/24', '192.0.2.1']);
    expect(await complete('guard', 'remove', '192.0.2.1', '20')).toEqual(['203.0.113.0/24']);
    expect(await complete('delete', 'guard', 'op')).toEqual(['operator']);
    expect(await complete('delete', 'service', 'x', 'w')).toEqual(['web']);
    expect(await complete('apply', '-f', '')).toEqual(['-', ':files']);
    expect(await complete('--target', 'unix:/nonexistent', 'get', 'services', '')).toEqual(['']);
  });

  test('bash loads the script and completes words with colons', async () => {
    await run(['apply', '-f', file('web.yaml', web)]);
    const script = `source <("${marcher}" completion bash)
      t() { COMP_LINE="$1"; COMP_POINT=\${#1}; COMPREPLY=(); _marcher; echo "\${COMPREPLY[*]}"; }
      t "${marcher} get services "; t "${marcher} drain web 10.0.0.11:"`;
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { env: environment() });
    expect(stdout).toBe('web\n8080\n');
  });
});

describe('tests of ports', () => {
  let echo: Server;
  let named: Server;
  let port: number;
  let namedPort: number;
  const udp = createSocket('udp4');

  beforeAll(async () => {
    echo = createServer((connection) => connection.on('error', () => undefined).pipe(connection));
    let count = 0;
    named = createServer((connection) =>
      connection.on('error', () => undefined).end(`${['a', 'a', 'b'][count++ % 3]}\n`),
    );
    await Promise.all(
      [echo, named].map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))),
    );
    port = (echo.address() as AddressInfo).port;
    namedPort = (named.address() as AddressInfo).port;
    udp.on('message', (message, from) => udp.send(message, from.port, from.address));
    await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  });

  afterAll(() => {
    echo.close();
    named.close();
    udp.close();
  });

  test('ping over TCP and UDP, and a port that refuses', async () => {
    const tcp = await run(['test', 'ping', `127.0.0.1:${port}`, '-n', '3', '-i', '10ms', '-o', 'json']);
    expect(JSON.parse(tcp.stdout)).toMatchObject({ transport: 'tcp', sent: 3, answered: 3, lossPercent: 0 });
    const payload = await run(['test', 'ping', `127.0.0.1:${port}`, '-n', '1', '-p', 'a\\r\\n\\x41', '-o', 'json']);
    expect(JSON.parse(payload.stdout).attempts[0]).toMatchObject({ ok: true });
    const datagram = await run(['test', 'ping', `127.0.0.1:${udp.address().port}`, '--udp', '-n', '2', '-i', '10ms']);
    expect(datagram.stdout).toMatch(/2 sent, 2 answered, 0% lost/);
    const refused = await run(['test', 'ping', '127.0.0.1:1', '-n', '1']);
    expect(refused.code).toBe(9);
    expect(refused.stdout).toContain('refused');
    expect((await run(['test', 'ping', '127.0.0.1:1', '-6'])).code).toBe(2);
  });

  test('balance: right weights pass, wrong ones and too few answers fail', async () => {
    const target = `127.0.0.1:${namedPort}`;
    const right = await run(['test', 'balance', target, '--weights', 'a=2,b=1', '-o', 'json']);
    expect(right.code).toBe(0);
    expect(JSON.parse(right.stdout)).toMatchObject({ answered: 300, passed: true });
    const wrong = await run(['test', 'balance', target, '--weights', 'a=1,b=1']);
    expect(wrong.code).toBe(9);
    expect(wrong.stdout).toContain('beyond chance');
    expect((await run(['test', 'balance', target, '-n', '4'])).stdout).toContain('too few answers');
    expect((await run(['test', 'balance', target, '--weights', 'a=2,b=1,c=1'])).code).toBe(9);
  });

  test('simulate: as fast as it goes, at a rate, over UDP, and against nobody', async () => {
    const fast = await run(['test', 'simulate', `127.0.0.1:${port}`, '-d', '500ms', '-c', '4', '-o', 'json']);
    expect(fast.code).toBe(0);
    const result = JSON.parse(fast.stdout);
    expect(result.failed).toBe(0);
    expect(result.answered).toBeGreaterThan(100);
    expect(result.latencyUs.p50).toBeGreaterThan(0);
    expect(result.latencyUs.p99).toBeGreaterThanOrEqual(result.latencyUs.p50);
    const steady = await run([
      'test',
      'simulate',
      `127.0.0.1:${udp.address().port}`,
      '-u',
      '-d',
      '1s',
      '-r',
      '100',
      '-o',
      'json',
    ]);
    expect(JSON.parse(steady.stdout).answered).toBeGreaterThan(60);
    expect(JSON.parse(steady.stdout).answered).toBeLessThan(130);
    const anew = await run(['test', 'simulate', `127.0.0.1:${port}`, '-d', '300ms', '--mode', 'connect', '-o', 'json']);
    expect(JSON.parse(anew.stdout).connects.count).toBeGreaterThan(20);
    expect((await run(['test', 'simulate', '127.0.0.1:1', '-d', '200ms'])).code).toBe(9);
  });
});
