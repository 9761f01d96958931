// SPDX-License-Identifier: Apache-2.0
/** What can be done from the console beside editing and draining: asked for by forms, planned, shown as commands, done, undone. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type AgentCalls, AgentError } from '@marcher/client/fleet';
import { AccessRole, ApiKeySchema, UserSchema } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateSchema } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { RevisionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { ClusterSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { CommanderError } from 'commander';
import { afterAll, describe, expect, test } from 'vitest';
import { ExitCode } from '../../cli/exit-code.js';
import { createProgram } from '../../cli/program.js';
import { Session } from '../../cli/session.js';
import { type Harness, harness, settled } from '../../testing/console-harness.js';
import { changed, meshState, NOW_MS, nodeKey } from '../../testing/mesh-state.js';
import type { Values } from '../store/form.js';
import type { Deed, DeedContext } from './deed.js';
import { DEEDS } from './index.js';

const state = meshState({ nodes: 3, services: 4, backends: 2 });
const second = state.nodes.get(nodeKey(1));
const clustered = changed(state, {
  nodes: { [nodeKey(1)]: { member: { ...second?.member, clusters: ['eu'] } as never } },
});
const directory = mkdtempSync(join(tmpdir(), 'marcher-deeds-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const alice = create(UserSchema, {
  ...{ name: 'alice', role: AccessRole.OWNER, hasPassword: true, hasSecondFactor: true },
  scope: { clusters: ['eu'], services: [] },
});
const ci = create(ApiKeySchema, { id: '5a0b7d1e93c4f286', name: 'ci', role: AccessRole.VIEWER });
const cd = create(ApiKeySchema, { id: '5a0b7d1e93c4f287', name: 'cd', role: AccessRole.VIEWER });
const api = create(CertificateSchema, {
  ...{ name: 'api', names: ['api.example.org'], source: 1, keyType: 'EC secp384r1' },
  notAfter: timestampFromMs(NOW_MS + 90 * 86_400_000),
});
const eu = create(ClusterSchema, {
  name: 'eu',
  nodes: [{ nodeId: nodeKey(1), name: 'node02', state: 2 }],
  objects: 0n,
});
const revisions = [
  create(RevisionSchema, { version: 7n, author: 'bob', message: 'faster' }),
  create(RevisionSchema, { version: 6n, author: 'alice' }),
];

const LISTS: Readonly<Record<string, object>> = {
  ...{ listUsers: { users: [alice] }, listApiKeys: { keys: [ci, cd] }, listCertificates: { certificates: [api] } },
  ...{
    listClusters: { clusters: [eu] },
    history: { revisions },
    listMembers: { members: [{ nodeId: nodeKey(1), name: 'node02' }] },
  },
  getCertificate: { certificate: api },
};
const MADE: Readonly<Record<string, object>> = {
  createApiKey: { key: 'mk_5a0b7d1e93c4f288_SECRET', details: { ...ci, id: '5a0b7d1e93c4f288', name: 'deploy' } },
  rotateApiKey: { key: 'mk_5a0b7d1e93c4f286_OTHER', details: ci },
  createJoinToken: { token: 'mt_SECRET', address: '192.0.2.1:7400', details: { id: 'aa'.repeat(8) } },
  setRole: { user: { ...alice, role: AccessRole.VIEWER, scope: undefined } },
  revert: { version: 8n, diffs: [] },
  enrolTotp: { secret: 'JBSWY3DP', uri: 'otpauth://totp/edge:alice?secret=JBSWY3DP' },
  createRecoveryCodes: { recoveryCodes: ['eeee-ffff'] },
  confirmTotp: { recoveryCodes: ['aaaa-bbbb', 'cccc-dddd'] },
};

/** An agent that does what it is told, and keeps what that was; failure: of what changes something. */
function agent(failure?: () => Error | undefined) {
  const told: { readonly call: string; readonly request: Record<string, unknown> }[] = [];
  const lists: Record<string, object> = { ...LISTS };
  const service = new Proxy(
    {},
    {
      get: (_target, call: string) => async (request: Record<string, unknown>) => {
        const list = lists[call];
        if (list !== undefined) return list;
        const error = failure?.();
        if (error !== undefined) throw error;
        // A key is overwritten once it is sent.
        told.push({ call, request: { ...request } });
        const made = MADE[call] ?? {};
        // What is looked at again before it is undone.
        if ('user' in made) lists['listUsers'] = { users: [made.user] };
        if (call === 'createApiKey' && 'details' in made) lists['listApiKeys'] = { keys: [made.details] };
        return made;
      },
    },
  );
  const entry = new Proxy({}, { get: () => service }) as AgentCalls;
  return { told, entry };
}

async function open(view: string, entry: AgentCalls, isUnlocked = true): Promise<Harness> {
  const made = harness(clustered, { entry, columns: 120 });
  if (isUnlocked) command(made, 'unlock');
  command(made, view);
  await settled();
  return made;
}
const command = (made: Harness, name: string): void => {
  made.type(`:${name}`);
  made.press('enter');
};
const text = (made: Harness): string => made.screen().join('\n');
/** What is shown whole, wherever the screen ends. */
const flat = (made: Harness): string =>
  made
    .screen()
    .map((line) => line.trimEnd())
    .join('');

describe('a deed', () => {
  test('asks for what it needs, says what will come of it, shows the command, and is done on y', async () => {
    const { told, entry } = agent();
    const made = await open('certificates', entry);
    made.press('n');
    made.type('shop');
    made.press('enter');
    made.type('shop.example.org 10.0.0.1');
    made.press('enter', 'ctrl-u');
    made.type('90');
    made.press('enter', 'right', 'enter');
    await settled();
    expect(text(made)).toContain('Issue certificate shop?');
    expect(text(made)).toContain(':undo takes it back.');
    expect(flat(made)).toContain(
      'certificate issue shop --san shop.example.org --san 10.0.0.1 --days 90 --usage client',
    );
    expect(told).toEqual([]);
    made.press('y');
    await settled();
    expect(told).toMatchObject([
      {
        call: 'issueCertificate',
        request: { name: 'shop', names: ['shop.example.org', '10.0.0.1'], days: 90, usage: 2 },
      },
    ]);
    expect(text(made)).toContain('Certificate shop is issued');
  });

  test('is refused while the console only reads, before anything is typed', async () => {
    const { told, entry } = agent();
    const made = await open('users', entry, false);
    for (const name of ['new', 'role', 'password', 'totp', 'logout', 'delete']) {
      command(made, name);
      await settled();
      expect(text(made)).toContain(':unlock lets it change things');
    }
    expect(told).toEqual([]);
  });

  test('keeps what was typed where that can not be right, and says what is wrong', async () => {
    const made = await open('users', agent().entry);
    made.press('n');
    made.type('Carol');
    made.press('ctrl-s');
    await settled();
    expect(text(made)).toMatch(/name +Carol/);
    expect(text(made)).toContain('"Carol" is no name');
    made.press('ctrl-u');
    made.type('carol');
    made.press('down', 'down', 'down', 'down');
    made.type('correct horse battery');
    made.press('enter');
    made.type('another horse battery');
    made.press('enter');
    await settled();
    expect(text(made)).toContain('two different passwords');
    expect(text(made)).toMatch(/new password +•{21}/);
    expect(text(made)).not.toContain('horse');
  });

  test('that an agent refuses can be changed as it was typed, and says whether it may have been done', async () => {
    let failure: Error | undefined = new AgentError('conflict', 'there is a user carol', [], undefined);
    const { told, entry } = agent(() => failure);
    const made = await open('users', entry);
    made.press('n');
    made.type('carol');
    made.press('ctrl-s');
    await settled();
    made.press('y');
    await settled();
    expect(text(made)).toContain('there is a user carol');
    expect(text(made)).toContain('Nothing was changed');
    made.press('e');
    expect(text(made)).toMatch(/name +carol/);
    failure = new AgentError('timeout', 'no answer', [], undefined);
    made.press('ctrl-s');
    await settled();
    made.press('y');
    await settled();
    expect(text(made)).toContain('may have been done all the same');
    failure = undefined;
    made.press('y');
    made.press('y');
    await settled();
    expect(told).toMatchObject([{ call: 'createUser', request: { name: 'carol', password: '' } }]);
  });

  test('of one thing is not done to many', async () => {
    const { told, entry } = agent();
    const made = await open('keys', entry);
    made.press('space', 'space');
    command(made, 'rotate');
    expect(text(made)).toContain('one at a time');
    made.press('ctrl-k');
    await settled();
    expect(text(made)).toContain('Revoke 2 API keys?');
    expect(text(made)).toContain('- revoke API key cd');
    made.type('revoke 2');
    made.press('enter');
    await settled();
    expect(told.map(({ request }) => request['id'])).toEqual([ci.id, cd.id]);
  });

  test('that is for other things says where', async () => {
    const made = await open('nodes', agent().entry);
    command(made, 'renew');
    expect(text(made)).toContain(':renew is not for :nodes. It is for :certificates.');
  });

  test('is found in a list of all that can be done here', async () => {
    const made = await open('users', agent().entry);
    made.press('a');
    expect(text(made)).toContain('users: alice');
    made.press('r');
    expect(text(made)).toContain('give it another role');
    made.press('enter');
    expect(text(made)).toContain('Another role for user alice');
    made.press('esc');
    expect(text(made)).toContain('Nothing was changed.');
  });
});

describe('an authenticator', () => {
  const typed = (made: Harness, ...keys: string[]): void => {
    for (const key of keys) key === 'enter' ? made.press(key) : made.type(key);
  };

  test('is enrolled by the password, its secret, a code of it, and recovery codes that are shown once', async () => {
    let refusal: Error | undefined;
    const { told, entry } = agent(() => refusal);
    const made = await open('users', entry);
    command(made, 'enrol');
    typed(made, 'not', 'enter');
    await settled();
    expect(text(made)).toContain('within ten minutes');
    made.press('y');
    await settled();
    expect(text(made)).toContain('otpauth://totp/edge:alice');
    typed(made, 'done', 'enter');
    expect(text(made)).toContain('The authenticator of alice');
    // A code that is wrong is another one to be typed, not all of it once more.
    refusal = new AgentError('refused', 'the code is wrong', [], undefined);
    typed(made, '000000', 'enter', 'y');
    await settled();
    expect(text(made)).toContain('the code is wrong');
    refusal = undefined;
    made.press('e');
    typed(made, 'enter');
    made.press('y');
    await settled();
    expect(text(made)).toContain('cccc-dddd');
    typed(made, 'done', 'enter');
    expect(text(made)).not.toContain('cccc-dddd');
    expect(told).toEqual([
      { call: 'enrolTotp', request: { name: 'alice', password: 'not' } },
      { call: 'confirmTotp', request: { name: 'alice', code: '000000' } },
    ]);
  });
});

test('who may not list users renews recovery codes of the own account', async () => {
  const { told, entry } = agent();
  const nobody = {
    ...entry.access,
    listUsers: async () => Promise.reject(new AgentError('denied', 'no', [], undefined)),
  };
  const access = new Proxy(nobody, { get: (own, call) => Reflect.get(own, call) ?? Reflect.get(entry.access, call) });
  const made = await open(
    'users',
    new Proxy(entry, { get: (own, name) => (name === 'access' ? access : Reflect.get(own, name)) }),
  );
  command(made, 'codes');
  made.type('bob');
  made.press('enter');
  made.type('secret');
  made.press('enter');
  await settled();
  made.press('y');
  await settled();
  expect(told).toEqual([{ call: 'createRecoveryCodes', request: { name: 'bob', password: 'secret' } }]);
  expect(text(made)).toContain('eeee-ffff');
});

describe('a secret', () => {
  test('is shown once, until one says that one has it, and is nowhere behind', async () => {
    const { told, entry } = agent();
    const made = await open('keys', entry);
    made.press('n');
    made.type('deploy');
    made.press('ctrl-s');
    await settled();
    expect(flat(made)).toContain('key create deploy --ttl 365d --role viewer');
    made.press('y');
    await settled();
    expect(text(made)).toContain('mk_5a0b7d1e93c4f288_SECRET');
    made.press('esc', 'enter', 'n', 'q');
    expect(text(made)).toContain('mk_5a0b7d1e93c4f288_SECRET');
    made.press('ctrl-u', 'backspace', 'backspace', 'backspace', 'backspace');
    made.type('done');
    made.press('enter');
    expect(text(made)).not.toContain('SECRET');
    command(made, 'undo');
    await settled();
    expect(text(made)).toContain('Revoke API key deploy?');
    made.type('deploy');
    made.press('enter');
    await settled();
    expect(told.map(({ call }) => call)).toEqual(['createApiKey', 'revokeApiKey']);
    command(made, 'undo');
    expect(text(made)).toContain('can not be taken back');
  });
});

describe('what takes something away', () => {
  test.each([
    ['certificates', ['ctrl-k'], 'api', 'deleteCertificate'],
    ['certificates', [':revoke', 'ctrl-s'], 'api', 'revokeCertificate'],
    ['users', ['ctrl-k'], 'alice', 'removeUser'],
    ['users', [':totp'], 'alice', 'resetSecondFactor'],
    ['keys', [':revoke'], 'ci', 'revokeApiKey'],
    ['nodes', ['j', 'ctrl-k'], 'node02', 'removeMember'],
    ['mesh', ['j', ':unassign', 'e', 'u', 'ctrl-s'], 'node02', 'unassignClusters'],
    ['clusters', ['ctrl-k'], 'eu', 'deleteCluster'],
    ['history', ['j', ':revert'], 'revert 6', 'revert'],
  ] as const)('in :%s by %s has to be typed', async (view, keys, word, call) => {
    const other = { ...eu, nodes: [...eu.nodes, ...eu.nodes] };
    const { told, entry } = agent();
    const calls = view === 'mesh' ? withClusters(entry, [other]) : entry;
    const made = await open(view, calls);
    for (const key of keys) {
      if (key.startsWith(':')) command(made, key.slice(1));
      else made.press(key);
      await settled();
    }
    expect(text(made)).toContain(`Type ${word} and Enter`);
    made.press('y', 'enter');
    await settled();
    expect(told).toEqual([]);
    made.type(word);
    made.press('enter');
    await settled();
    expect(told.map((each) => each.call)).toEqual([call]);
  });

  test('is not offered where it is the node that is asked', async () => {
    const { told, entry } = agent();
    const made = await open('nodes', entry);
    // node01 is the one that is asked.
    made.press('ctrl-k');
    await settled();
    expect(text(made)).toContain('a node does not remove itself');
    expect(told).toEqual([]);
  });
});

function withClusters(entry: AgentCalls, clusters: readonly object[]): AgentCalls {
  const { mesh } = entry;
  return new Proxy(entry, {
    get: (target, name: keyof AgentCalls) =>
      name === 'mesh'
        ? new Proxy(mesh, {
            get: (calls, call: keyof AgentCalls['mesh']) =>
              call === 'listClusters' ? async () => ({ clusters }) : calls[call],
          })
        : target[name],
  });
}

test('a role is shown before and after, and :undo gives the one before', async () => {
  const { told, entry } = agent();
  const made = await open('users', entry);
  command(made, 'role');
  made.press('v', 'down', 'ctrl-u', 'ctrl-s');
  await settled();
  expect(text(made)).toContain('alice is owner of cluster eu now, and viewer from then on');
  made.press('y');
  await settled();
  command(made, 'undo');
  await settled();
  expect(flat(made)).toContain('user role alice owner --cluster eu');
  made.press('y');
  await settled();
  expect(told.map(({ request }) => request)).toMatchObject([
    { role: AccessRole.VIEWER, scope: { clusters: [] } },
    { role: AccessRole.OWNER, scope: { clusters: ['eu'] } },
  ]);
});

test('going back to a version shows what is taken back, and :undo goes back to what was', async () => {
  const { told, entry } = agent();
  const made = await open('history', entry);
  command(made, 'revert');
  await settled();
  expect(text(made)).toContain('version 7 is the current one');
  made.press('j');
  command(made, 'revert');
  await settled();
  expect(text(made)).toContain('version 7 by bob: faster');
  made.type('revert 6');
  made.press('enter');
  await settled();
  expect(told).toMatchObject([{ call: 'revert', request: { version: 6n, expectedVersion: 7n } }]);
});

describe('an import', () => {
  const key = join(directory, 'shop.key');
  const certificate = join(directory, 'shop.pem');
  const fill = async (made: Harness, ...values: string[]): Promise<void> => {
    command(made, 'import');
    for (const value of values) {
      made.press('ctrl-u');
      made.type(value);
      made.press('enter');
    }
    made.press('ctrl-s');
    await settled();
  };

  test('reads the files when they are named, and sends the key once it is confirmed', async () => {
    const subject = ['-subj', '/CN=shop.example.org', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    execFileSync('openssl', ['req', '-x509', '-nodes', ...subject, '-keyout', key, '-out', certificate], {
      stdio: 'ignore',
    });
    const { told, entry } = agent();
    const made = await open('certificates', entry);
    await fill(made, 'shop', certificate, key);
    expect(flat(made)).toContain(`certificate import shop --certificate ${certificate} --private-key ${key}`);
    made.press('y');
    await settled();
    expect(told).toMatchObject([{ call: 'importCertificate', request: { name: 'shop', replace: false } }]);
    expect(told[0]?.request['chain']).toContain('BEGIN CERTIFICATE');
    // What was sent is overwritten.
    const sent = told[0]?.request['privateKey'] ?? new Uint8Array();
    expect(sent).toEqual(new Uint8Array((sent as Uint8Array).length));
    expect(sent).not.toHaveLength(0);
  });

  test('says in the form which file is not what it should be, and nothing of what is in it', async () => {
    writeFileSync(key, 'hunter2');
    const { told, entry } = agent();
    const made = await open('certificates', entry);
    await fill(made, 'shop', join(directory, 'absent.pem'), key);
    expect(text(made)).toContain('absent.pem');
    made.press('esc');
    await fill(made, 'shop', certificate, key);
    expect(flat(made)).toContain('has no private key that can be read');
    expect(text(made)).not.toContain('hunter2');
    expect(told).toEqual([]);
  });
});

const SAMPLES: Readonly<Record<string, { readonly items: readonly object[]; readonly values?: Values }>> = {
  'new certificate': { items: [], values: { name: 'shop', san: '*.example.org, 10.0.0.1', days: '30', usage: 'both' } },
  'renew certificate': { items: [api], values: { revoke: 'key-compromise' } },
  'revoke certificate': { items: [api], values: { reason: 'superseded' } },
  'delete certificate': { items: [api] },
  'new user': {
    items: [],
    values: { name: 'bob', role: 'owner', clusters: 'eu us', services: 'web', password: '', again: '' },
  },
  'role user': { items: [alice], values: { role: 'owner', clusters: 'us', services: '' } },
  'password user': { items: [alice], values: { password: 'x'.repeat(15), again: 'x'.repeat(15), reset: 'goes' } },
  ...{ 'totp user': { items: [alice] }, 'logout user': { items: [alice] }, 'delete user': { items: [alice] } },
  'new key': { items: [], values: { name: 'ci', role: 'viewer', clusters: '', services: '', days: '90' } },
  ...{
    'enrol user': { items: [alice], values: { password: 'x' } },
    'codes user': { items: [alice], values: { password: 'x' } },
  },
  'rotate key': { items: [ci], values: { hours: '0' } },
  ...{ 'delete key': { items: [ci, cd] }, 'revoke key': { items: [ci] } },
  'token node': { items: [], values: { minutes: '90', role: 'authority', clusters: 'eu' } },
  ...{ 'rotate node': { items: [] }, 'delete node': { items: [state.nodes.get(nodeKey(1)) as object] } },
  'assign node': { items: [state.nodes.get(nodeKey(1)) as object], values: { cluster: 'eu' } },
  'unassign node': { items: [clustered.nodes.get(nodeKey(1)) as object], values: { cluster: 'eu' } },
  ...{ 'new cluster': { items: [], values: { name: 'us' } }, 'delete cluster': { items: [eu] } },
  'revert version': { items: [revisions[1] as object] },
};
// The import is in a test of its own, with files.
const shown = DEEDS.filter(({ command: name }) => name !== 'import');

test.each(shown.map((deed) => [`${deed.command} ${deed.subject}`, deed] as const))(
  '%s: what is shown as a command is one',
  async (name, deed: Deed) => {
    const sample = SAMPLES[name];
    expect(sample, `a sample of ${name}`).toBeDefined();
    const context: DeedContext = { calls: agent().entry, state, target: { target: 'prod' }, nowMs: NOW_MS };
    const plan = await deed.plan(sample?.items ?? [], sample?.values ?? {}, context);
    expect(plan.commands.length).toBeGreaterThan(0);
    for (const line of plan.commands) {
      const words = line.split(' ').map((word) => word.replace(/^'(.*)'$/, '$1'));
      expect(words.slice(0, 3)).toEqual(['marcher', '-t', 'prod']);
      await expectAccepted(joined(words).slice(1));
    }
  },
);

/** Words within quotes are one. */
function joined(words: readonly string[]): string[] {
  return (
    words
      .join(' ')
      .match(/'[^']*'|\S+/g)
      ?.map((word) => word.replace(/^'|'$/g, '')) ?? []
  );
}

/** It gets as far as to what the command does, which is to ask an agent. */
async function expectAccepted(words: readonly string[]): Promise<void> {
  const session = new Session();
  session.agent = () => Promise.reject(new Error('as far as the agent'));
  const program = createProgram(session, { code: ExitCode.ok });
  const visit = (each: typeof program): void => {
    each.exitOverride().configureOutput({ writeErr: () => undefined });
    for (const sub of each.commands) visit(sub);
  };
  visit(program);
  const failure: unknown = await program.parseAsync(words, { from: 'user' }).catch((error: unknown) => error);
  expect(failure, words.join(' ')).toBeInstanceOf(Error);
  expect(failure, words.join(' ')).not.toBeInstanceOf(CommanderError);
  expect((failure as Error).message).toMatch(/as far as the agent|is asked for on a terminal/);
}
