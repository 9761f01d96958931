// SPDX-License-Identifier: Apache-2.0
/** The steps' own scripts, run by this machine's shell below a directory; the mesh and the agent that is started are small doubles. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentError } from '../errors.js';
import type { AgentCalls } from '../fleet/contract.js';
import { type Archive, archivesIn } from './archive.js';
import { layoutUnder } from './layout.js';
import { type Machine, privileged } from './machine.js';
import type { Progress } from './progress.js';
import { Provision } from './provision.js';
import { type Runner, systemd } from './runner.js';

const TOKEN = 'mjt1.SECRET';
let directory: string;
let root: string;
let archive: Archive;
let scripts: string[];
/** Scripts that match end with 1, without being run. */
let failing: RegExp | undefined;

const machine: { run: Machine['run'] } = {
  async run(script, { input, signal, heard } = {}) {
    scripts.push(script);
    if (failing?.test(script)) return { code: 1, stdout: '', stderr: 'it is broken on purpose\n' };
    const child = spawn('/bin/sh', ['-c', script], { stdio: 'pipe', ...(signal === undefined ? {} : { signal }) });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => {
      stdout += text;
      heard?.(String(text));
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.stdin.on('error', () => undefined);
    if (input === undefined || typeof input === 'string') child.stdin.end(input);
    else (input as Readable).pipe(child.stdin);
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      // By a signal: what it has started may have the pipes for longer.
      child.once('exit', (status) => status === null && resolve(255));
      child.once('close', (status) => resolve(status ?? 255));
    });
    return { code, stdout, stderr };
  },
};

/** Of a member that comes as soon as it was started. */
const runner: Runner = {
  hasAccount: false,
  start: ({ state, tree }) => `mkdir -p -- '${state}'; cat '${tree}/agent/name' > '${state}/runs'`,
  stop: ({ state }) => `rm -f -- '${state}/runs'`,
  lastWords: () => 'echo "the port is taken"',
};

class FakeMesh {
  readonly tokens = new Map<string, string>();
  readonly members = new Set<string>();
  /** Nobody ever joins. */
  isDeaf = false;
  removeFails = false;

  readonly calls = {
    createJoinToken: async () => {
      this.tokens.set('t1', '');
      return { token: TOKEN, address: '192.0.2.1:7400', details: { id: 't1' } };
    },
    listJoinTokens: async () => {
      if (!this.isDeaf && existsSync(join(root, 'var/lib/marcher/runs'))) {
        this.tokens.set('t1', 'aaaaaaaaaaaaaaaa');
        this.members.add('aaaaaaaaaaaaaaaa');
      }
      return { tokens: [...this.tokens].map(([id, usedBy]) => ({ id, usedBy })) };
    },
    listMembers: async () => ({
      members: [...this.members].map((nodeId) => ({
        nodeId,
        name: 'node2',
        state: MemberState.ALIVE,
        status: { ready: true },
      })),
    }),
    revokeJoinToken: async ({ id }: { id: string }) => {
      if (!this.tokens.delete(id)) throw new AgentError('not_found', 'there is no such token', [], undefined);
      return {};
    },
    removeMember: async ({ node }: { node: string }) => {
      if (this.removeFails) throw new AgentError('unavailable', 'try again', [], undefined);
      this.members.delete(node);
      return {};
    },
  };
}

let mesh: FakeMesh;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-provision-'));
  root = join(directory, 'machine');
  mkdirSync(root);
  const tree = join(directory, 'marcher-1.0.0');
  mkdirSync(join(tree, 'agent/bin'), { recursive: true });
  mkdirSync(join(tree, 'tui/bin'), { recursive: true });
  writeFileSync(join(tree, 'agent/name'), 'node2\n');
  writeFileSync(join(tree, 'agent/bin/marcherd'), '#!/bin/sh\necho 1.0.0\n');
  chmodSync(join(tree, 'agent/bin/marcherd'), 0o755);
  execFileSync('tar', ['-czf', join(directory, 'marcher-1.0.0-linux-x86_64.tar.gz'), '-C', directory, 'marcher-1.0.0']);
  archive = archivesIn([directory])[0] as Archive;
  scripts = [];
  failing = undefined;
  mesh = new FakeMesh();
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function provision(told: Progress[] = [], by: Runner = runner, heard?: (text: string) => unknown): Provision {
  const plan = { nodeName: 'node2', meshAddress: '192.0.2.2:7400', archive, layout: layoutUnder(root) };
  const agent = { mesh: mesh.calls } as unknown as Pick<AgentCalls, 'mesh'>;
  const pause = async (): Promise<void> => undefined;
  const ground = { plan, machine, privilege: 'none' as const, runner: by, agent, pause, joinMs: 1_000 };
  return new Provision(ground, (progress) => {
    told.push(progress);
    for (const { lines } of progress.steps) heard?.(lines.at(-1) ?? '');
  });
}

const files = (): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((each) => !each.isDirectory())
    .map((each) => join(each.parentPath, each.name).slice(root.length));
const phases = ({ steps }: Progress): string => steps.map(({ name, phase }) => `${name}:${phase}`).join(' ');

describe('a node that is added', () => {
  test('has its installation, its settings and a member, and no token any more; kept, nothing else is left', async () => {
    const told: Progress[] = [];
    const adding = provision(told);
    const done = await adding.run();
    expect(phases(done)).toBe('send:done unpack:done token:done settings:done start:done join:done');
    expect(readFileSync(join(root, 'etc/default/marcherd'), 'utf8').split('\n').slice(1)).toEqual([
      'MARCHER_NODE_NAME=node2',
      'MARCHER_MESH=192.0.2.2:7400',
      'MARCHER_JOIN=192.0.2.1:7400',
      `MARCHER_JOIN_TOKEN_FILE=${root}/etc/marcher/join-token`,
      '',
    ]);
    expect(files()).not.toContain('/etc/marcher/join-token');
    expect(
      told
        .map(({ steps }) => steps[0]?.share)
        .filter((share) => share !== undefined)
        .at(-1),
    ).toBe(1);
    expect((await adding.keep()).phase).toBe('kept');
    expect(files().filter((file) => file.startsWith('/var/tmp'))).toEqual([]);
    expect(files()).toContain('/opt/marcher/agent/bin/marcherd');
  });

  test('no script and no line has the token: only standard input has', async () => {
    const told: Progress[] = [];
    await provision(told).run();
    expect(scripts.join('\n')).not.toContain(TOKEN);
    expect(JSON.stringify(told)).not.toContain(TOKEN);
  });

  test('is taken back whole', async () => {
    const adding = provision();
    await adding.run();
    const undone = await adding.undo();
    expect(phases(undone)).toBe('send:undone unpack:undone token:undone settings:undone start:undone join:undone');
    expect(files()).toEqual([]);
    expect(mesh.members.size).toBe(0);
    expect(mesh.tokens.size).toBe(0);
  });
});

describe('a failure', () => {
  test.each<[string, RegExp]>([
    ['send', /sha256sum/],
    ['unpack', /tar -xzf/],
    ['settings', /MARCHER_NODE_NAME/],
    ['start', /note state/],
  ])('of %s says why, and everything is taken back, and only that', async (step, script) => {
    writeFileSync(join(root, 'of-somebody-else'), '');
    failing = script;
    const adding = provision();
    const failed = await adding.run();
    expect(failed.phase).toBe('failed');
    expect(failed.steps.find(({ phase }) => phase === 'failed')).toMatchObject({
      name: step,
      reason: expect.stringMatching(/it is broken on purpose/),
    });
    failing = undefined;
    expect((await adding.undo()).phase).toBe('undone');
    expect(files()).toEqual(['/of-somebody-else']);
    expect(mesh.tokens.size).toBe(0);
  });

  test('of an unpacking in the middle leaves nothing of it', async () => {
    writeFileSync(archive.path, readFileSync(archive.path).subarray(0, 180));
    const adding = provision();
    expect((await adding.run()).steps[1]).toMatchObject({ name: 'unpack', phase: 'failed' });
    expect((await adding.undo()).phase).toBe('undone');
    expect(files()).toEqual([]);
  });

  test('of a node that never joins has the last words of its agent, and it is taken back', async () => {
    mesh.isDeaf = true;
    const adding = provision();
    const failed = await adding.run();
    expect(failed.steps.at(-1)?.reason).toMatch(
      /not a ready member after 1 s: its token is not used yet.*the port is taken/,
    );
    await adding.undo();
    expect(files()).toEqual([]);
  });

  test('what was there before is not overwritten, and not removed either', async () => {
    mkdirSync(join(root, 'opt/marcher'), { recursive: true });
    writeFileSync(join(root, 'opt/marcher/precious'), '');
    const adding = provision();
    expect((await adding.run()).steps[1]).toMatchObject({ phase: 'failed', reason: expect.stringMatching(/exists/) });
    expect((await adding.undo()).phase).toBe('undone');
    expect(files()).toEqual(['/opt/marcher/precious']);
  });

  test('state that appears meanwhile stays', async () => {
    const adding = provision();
    mkdirSync(join(root, 'var/lib/marcher'), { recursive: true });
    writeFileSync(join(root, 'var/lib/marcher/marcher.db'), '');
    expect((await adding.run()).steps[4]).toMatchObject({ name: 'start', phase: 'failed' });
    await adding.undo();
    expect(files()).toEqual(['/var/lib/marcher/marcher.db']);
  });

  test('of the undoing says what is left, keeps the journal, and can be tried again', async () => {
    const adding = provision();
    await adding.run();
    mesh.removeFails = true;
    failing = /noted tree/;
    const left = await adding.undo();
    expect(left.phase).toBe('left');
    expect(phases(left)).toBe('send:left unpack:left token:undone settings:undone start:undone join:left');
    expect(files().some((file) => file.endsWith('/journal'))).toBe(true);
    mesh.removeFails = false;
    failing = undefined;
    expect((await adding.undo()).phase).toBe('undone');
    expect(files()).toEqual([]);
  });
});

test('one who stops it has the step that ran as failed, and may take it back', async () => {
  const abort = new AbortController();
  const adding = provision();
  const run = adding.run(abort.signal);
  abort.abort();
  const stopped = await run;
  expect(stopped.phase).toBe('failed');
  expect(stopped.steps.find(({ phase }) => phase === 'failed')?.reason).toBe('it was stopped');
  expect((await adding.undo()).phase).toBe('undone');
  expect(files()).toEqual([]);
});

test('what was stopped here and goes on there is waited for before anything is taken back', async () => {
  const abort = new AbortController();
  const slow: Runner = {
    ...runner,
    start: ({ state }) => `(echo begun; sleep 0.3; mkdir -p '${state}'; echo late > '${state}/late')`,
  };
  const adding = provision([], slow, (text) => text.includes('begun') && abort.abort());
  expect((await adding.run(abort.signal)).steps[4]).toMatchObject({ name: 'start', phase: 'failed' });
  expect((await adding.undo()).phase).toBe('undone');
  await new Promise((resolve) => setTimeout(resolve, 400));
  expect(files()).toEqual([]);
});

test('taking back makes no file: a full disk may be why it is done', async () => {
  const adding = provision();
  await adding.run();
  scripts = [];
  await adding.undo();
  expect(scripts.length).toBeGreaterThan(3);
  for (const script of scripts) {
    // But for functions that it has at hand, and does not call.
    const done = script
      .replace(/^note\(\).*$/m, '')
      .replaceAll('2>/dev/null', '')
      .replaceAll('>&2', '')
      .replaceAll('> /dev/null', '');
    expect(done).not.toMatch(/>|\b(mkdir|touch|install|cp|mv|note|tee)\b/);
  }
});

test.each([
  ['before the journal is gone', /rm -rf -- "\$at"/],
  ['when all is taken back', undefined],
])('what was stopped before it had begun there, and begins %s, does nothing', async (_when, before) => {
  const abort = new AbortController();
  const { run } = machine;
  let late: string | undefined;
  machine.run = async (script, options) => {
    if (script.includes('tar -xzf')) {
      late = script;
      abort.abort();
      throw new Error('it was stopped');
    }
    if (before?.test(script) && late !== undefined) await run(late);
    return await run(script, options);
  };
  try {
    const adding = provision();
    expect((await adding.run(abort.signal)).steps[1]).toMatchObject({ name: 'unpack', phase: 'failed' });
    expect((await adding.undo()).phase).toBe('undone');
    if (before === undefined) expect((await run(late ?? '')).code).not.toBe(0);
    expect(files()).toEqual([]);
    expect(existsSync(join(root, 'opt/marcher'))).toBe(false);
  } finally {
    machine.run = run;
  }
});

test('as a service: the unit of the tree at its place, started by systemctl, and stopped before it goes', () => {
  const layout = layoutUnder();
  expect(systemd.start(layout)).toContain("install -m 644 -- '/opt/marcher/deploy/marcherd.service'");
  expect(systemd.start(layout)).toMatch(/note unit\n[\s\S]*enable --now marcherd.service/);
  expect(systemd.stop(layout)).toMatch(/if noted unit; then[\s\S]*disable --now[\s\S]*rm -f -- '\/etc\/systemd/);
});

test('with sudo a script is one word', () => {
  const said = privileged(`echo "it's $((1 + 1))"`, 'sudo');
  const shell = said.replace('exec sudo -n', 'exec');
  expect(execFileSync('sh', ['-c', shell]).toString()).toBe("it's 2\n");
});

test('a prefix is plain names: nothing that a shell or a path makes something of', () => {
  for (const prefix of ['relative', '/a/../b', '/a b', "/a'", '/$(id)'])
    expect(() => layoutUnder(prefix)).toThrow(TypeError);
});
