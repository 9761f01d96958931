// SPDX-License-Identifier: Apache-2.0
/** `marcher mesh` as an operator has it: the built program, which is no import, over the real API. */
import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  NodeHealthSchema,
  NodeLoadSchema,
  NodeTiersSchema,
  NodeVersionSchema,
} from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryMesh } from './adapters/inbound/testing/in-memory-mesh.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

let directory: string;
let socketPath: string;
let server: ApiServer;
let mesh: InMemoryMesh;

async function run(...args: string[]): Promise<CommandResult> {
  return await runMarcher(args, { env: { HOME: directory, MARCHER_TARGET: `unix:${socketPath}` } });
}

beforeAll(async () => {
  await buildMarcher();
  directory = mkdtempSync(join(tmpdir(), 'marcher-mesh-commands-'));
  socketPath = join(directory, 'api.sock');
}, 120_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

beforeEach(async () => {
  mesh = new InMemoryMesh();
  const { config, node, traffic } = new InMemoryUseCases();
  const ignored = (): void => undefined;
  server = createApiServer({
    useCases: { config, node, traffic, mesh },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug: ignored, info: ignored, warn: ignored, error: ignored },
    socketPath,
    limits: { stopMs: 500 },
  });
  await server.start();
});

afterEach(async () => await server.stop());

describe('marcher mesh', () => {
  test('init makes one, status tells of it, and so does marcher status', async () => {
    const none = await run('mesh', 'status');
    expect(none).toMatchObject({ code: 0, stdout: 'Mesh     none\n' });
    expect(none.stderr).toContain('marcher mesh init NAME');
    const made = await run('mesh', 'init', 'prod');
    expect(made).toMatchObject({
      code: 0,
      stdout: `This node, 00000000000000a1, is the first of mesh prod (${'ab'.repeat(16)}).\n`,
    });
    mesh.member('00000000000000b2', 'south', 'alive');
    mesh.member('00000000000000b3', 'west', 'dead');
    mesh.admitted = false;
    const [text, after] = await Promise.all([run('mesh', 'status'), run('status')]);
    expect(text.stdout).toBe(
      `Mesh     prod (${'ab'.repeat(16)})\n` +
        "Node     00000000000000a1: still taking over the mesh's state\n" +
        'Members  3: 2 alive, 1 dead\n' +
        'Config   c0ffeec0ffee\n' +
        'Signs    yes: machines can join by this node\n',
    );
    expect(after.stdout).toContain(
      "Mesh     prod, node 00000000000000a1, config c0ffeec0ffee, still taking over the mesh's state\n",
    );
  });

  test('a token alone is on standard output, how to use it on standard error', async () => {
    const made = await run('mesh', 'token', '--ttl', '10m', '--role', 'authority');
    expect(made).toMatchObject({ code: 0, stdout: 'marcher1secret1\n' });
    expect(made.stderr).toBe(
      'It lets one machine in as authority, once, until 2026-11-22 00:10:00, and is shown only here.\n' +
        'There, with the token in a file that nobody else can read:\n' +
        '  marcherd --mesh ADDRESS:7400 --join 192.0.2.1:7400 --join-token-file FILE\n' +
        'Take it back: marcher mesh tokens revoke 0000000000000001\n',
    );
    expect(mesh.made[0]).toMatchObject({ role: 'authority', expiresMs: Date.UTC(2026, 10, 22, 0, 10) });
    const [json, short] = await Promise.all([run('mesh', 'token', '-o', 'json'), run('mesh', 'token', '--ttl', '59s')]);
    expect(json.stderr).toBe('');
    expect(JSON.parse(json.stdout)).toMatchObject({
      token: 'marcher1secret2',
      address: '192.0.2.1:7400',
      details: { id: '0000000000000002', role: 'NODE_ROLE_MEMBER', expires: '2026-11-22T01:00:00Z' },
    });
    expect([short.code, short.stderr]).toEqual([2, expect.stringContaining('--ttl is "59s"')]);
    expect(mesh.made).toHaveLength(2);
  });

  test('clusters are made, nodes put into them and taken out, and what would be lost is said before', async () => {
    mesh.meshName = 'prod';
    mesh.member('00000000000000b2', 'south', 'dead');
    mesh.clusterObjects = 3;
    expect(await run('cluster', 'create', 'eu')).toEqual({
      code: 0,
      stdout: 'Made cluster eu.\n',
      stderr: 'No node is in it yet: marcher cluster assign NODE eu\n',
    });
    const assigned = await run('cluster', 'assign', 'north', 'eu');
    expect([assigned.code, assigned.stdout]).toEqual([0, 'Node north is in eu.\n']);
    const unasked = await run('cluster', 'unassign', 'north', 'eu');
    expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining('give --yes')]);
    mesh.clusterNodes.get('eu')?.add('00000000000000b2');
    const [table, members, status, names, unknown, token] = await Promise.all([
      run('cluster'),
      run('mesh', 'members'),
      run('mesh', 'status'),
      run('__complete', 'cluster', 'assign', 'north', ''),
      run('cluster', 'delete', 'us', '--yes'),
      run('mesh', 'token', '--cluster', 'eu'),
    ]);
    expect(table.stdout).toBe(
      'NAME   NODES                 OBJECTS   CREATED               BY\n' +
        'eu     north, south (dead)         3   2026-11-22 00:00:00   root (uid 0)\n',
    );
    expect(members.stdout).toMatch(/CERTIFICATE {3}CLUSTERS {3}HEALTH\n.*expired {7}eu {9}-\n/);
    expect(status.stdout).toContain('\nCluster  eu, 0c0ffee0c0ff\n');
    expect(names.stdout).toContain('eu');
    expect([unknown.code, unknown.stderr]).toEqual([8, expect.stringContaining('there is no cluster "us"')]);
    expect(token.stderr).toMatch(/^It lets one machine in as member, into eu, once, until /);
    expect(mesh.made[0]?.clusters).toEqual(['eu']);
    const kept = await run('cluster', 'delete', 'eu', '--yes');
    expect([kept.code, mesh.clusterNodes.has('eu')]).toEqual([6, true]);
    const gone = await run('cluster', 'delete', 'eu', '--yes', '--force');
    expect([gone.code, gone.stdout, mesh.clusterNodes.size]).toEqual([0, 'Deleted cluster eu.\n', 0]);
  });

  test('tokens are listed without what lets anybody in, and taken back', async () => {
    const hour = 3_600_000;
    const now = Date.now();
    const base = {
      role: 'member',
      createdMs: Date.UTC(2026, 10, 22),
      createdBy: 'root (uid 0)',
      clusters: [],
    } as const;
    mesh.made.push(
      { ...base, id: '1111111111111111', expiresMs: now + hour + 30_000 },
      { ...base, id: '2222222222222222', expiresMs: now - hour },
      { ...base, id: '3333333333333333', expiresMs: now - hour, usedBy: '00000000000000b2', role: 'authority' },
    );
    const [table, ids, yaml] = await Promise.all([
      run('mesh', 'tokens'),
      run('__complete', 'mesh', 'tokens', 'revoke', ''),
      run('mesh', 'tokens', '-o', 'yaml'),
    ]);
    expect(table.stdout).toBe(
      [
        'ID                 ROLE        STATE           CREATED               BY             USED-BY',
        '1111111111111111   member      open for 1h0m   2026-11-22 00:00:00   root (uid 0)   -',
        '2222222222222222   member      expired         2026-11-22 00:00:00   root (uid 0)   -',
        '3333333333333333   authority   used            2026-11-22 00:00:00   root (uid 0)   00000000000000b2',
        '',
      ].join('\n'),
    );
    expect(ids.stdout).toBe('1111111111111111\n2222222222222222\n');
    expect(yaml.stdout).toContain('- id: "1111111111111111"\n');
    const [revoked, token] = await Promise.all([
      run('mesh', 'tokens', 'revoke', '1111111111111111', '-o', 'json'),
      run('mesh', 'tokens', 'revoke', 'marcher1secret1'),
    ]);
    expect([revoked.code, JSON.parse(revoked.stdout)]).toEqual([0, { id: '1111111111111111' }]);
    expect([token.code, token.stderr]).toEqual([2, expect.not.stringContaining('secret')]);
  });

  test('members are listed, and one is removed: asked on a terminal, else with --yes', async () => {
    mesh.meshName = 'prod';
    mesh.member('00000000000000b2', 'south', 'alive', 3, {
      saidMs: 0,
      version: create(NodeVersionSchema, { agent: '0.1.0', engine: '0.1.0' }),
      health: create(NodeHealthSchema, { ready: true, unhealthyCount: 2, unmet: ['Listeners\u001b'] }),
      tiers: create(NodeTiersSchema, {
        tiers: [
          { tier: 'xdp', services: 2 },
          { tier: 'relay', services: 40 },
        ],
      }),
      load: create(NodeLoadSchema, { connections: 480n }),
    });
    mesh.member('00000000000000b3', 'twin', 'suspect');
    mesh.member('00000000000000b4', 'twin\u001b[31m', 'left');
    mesh.member('00000000000000b5', 'twin', 'dead');
    const [table, wide, names] = await Promise.all([
      run('mesh', 'members'),
      run('mesh', 'members', '-o', 'wide'),
      run('__complete', 'mesh', 'remove', ''),
    ]);
    expect(table.stdout.split('\n').slice(0, 4)).toEqual([
      'NAME        ID                 STATE     ADDRESS          BEHIND   CERTIFICATE   HEALTH',
      'north       00000000000000a1   self      192.0.2.1:7400        0   expired       -',
      'south       00000000000000b2   alive     192.0.2.2:7400        3   29d23h        ready, 2 backends unhealthy, Listeners� unmet',
      'twin        00000000000000b3   suspect   192.0.2.3:7400        -   29d23h        -',
    ]);
    expect(wide.stdout).toMatch(/unmet +480 +2 xdp, 40 relay +0\.1\.0 +\d+d/);
    expect(table.stdout).not.toContain('\u001b');
    expect(names.stdout.split('\n').slice(0, 2)).toEqual(['south', '00000000000000b3']);
    const [unasked, absent, ambiguous] = await Promise.all([
      run('mesh', 'remove', 'south'),
      run('mesh', 'remove', 'nobody', '--yes'),
      run('mesh', 'remove', 'twin', '--yes'),
    ]);
    expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining('give --yes')]);
    expect(absent.code).toBe(8);
    expect([ambiguous.code, ambiguous.stderr]).toEqual([
      2,
      'error: 2 members are named "twin": name one by its id: 00000000000000b3, 00000000000000b5\n',
    ]);
    expect(mesh.removed).toEqual([]);
    expect(await run('mesh', 'remove', 'south', '--yes', '--keep-keys')).toEqual({
      code: 0,
      stdout: 'Removed south (00000000000000b2): its certificate is revoked.\n',
      stderr: '',
    });
    expect([mesh.removed, mesh.keepingKeys]).toEqual([['00000000000000b2'], ['00000000000000b2']]);
  });

  test('this node leaves: asked on a terminal, else with --yes, and against a rule by force', async () => {
    mesh.meshName = 'prod';
    mesh.onlyAuthority = true;
    const [unasked, refused] = await Promise.all([run('mesh', 'leave'), run('mesh', 'leave', '--yes')]);
    expect([unasked.code, unasked.stderr]).toEqual([2, expect.stringContaining('give --yes')]);
    expect([refused.code, mesh.meshName]).toEqual([6, 'prod']);
    const left = await run('mesh', 'leave', '--yes', '--force');
    expect(left).toMatchObject({
      code: 0,
      stdout: 'Left mesh prod. What this node was in it is kept in /var/lib/marcher/identity-left-1.\n',
    });
    expect(left.stderr).toContain('No other member is known to have heard of it');
    expect((await run('mesh', 'leave', '--yes')).code).toBe(6);
  });

  test("the CA's roots are listed with what needs them, another is made, and an old one retired by who says so", async () => {
    const now = Date.now();
    const [first] = mesh.caRoots;
    if (first === undefined) throw new Error('expected a root');
    const leaves = first.leaves.map((leaf) => ({ ...leaf, expiresMs: now + 90_000_000 }));
    mesh.caRoots[0] = { ...first, leaves };
    const table = await run('mesh', 'ca');
    expect(table.stdout).toBe(
      'ROOT               STATE   EXPIRES      TRUSTED-BY     KEY-AT   CERTIFICATES\n' +
        'a1a1a1a1a1a1a1a1   signs   2036-11-21   north, south   north    1 member, 1 operator, first expires in 1d0h\n',
    );
    const made = await run('mesh', 'ca', 'rotate', '--overlap', '72h');
    expect(made.stdout).toBe('The mesh has a new root, b2b2b2b2b2b2b2b2. It signs from 2026-11-25 00:00:00 on.\n');
    expect(mesh.rotations).toEqual([{ overlapMs: 259_200_000, now: false }]);
    mesh.caWaiting = ['west'];
    const [after, long, none, asks] = await Promise.all([
      run('mesh', 'ca', 'status'),
      run('mesh', 'ca', 'rotate', '--overlap', '721h'),
      run('mesh', 'ca', 'retire', 'ff', '--yes'),
      run('mesh', 'ca', 'retire', 'a1a1a1a1'),
    ]);
    expect(after.stdout).toContain('b2b2b2b2b2b2b2b2   signs from 2026-11-25 00:00:00');
    expect(after.stderr).toBe('Not yet taken by west; it signs when all have it.\n');
    expect([long.code, long.stderr]).toEqual([2, expect.stringContaining('--overlap is "721h"')]);
    expect([none.code, asks.code]).toEqual([8, 2]);
    const refused = await run('mesh', 'ca', 'retire', 'a1a1a1a1', '--yes');
    expect(refused.code).toBe(6);
    const retired = await run('mesh', 'ca', 'retire', 'a1a1a1a1', '--yes', '--force');
    expect(retired.stdout).toBe('Retired root a1a1a1a1a1a1a1a1.\n');
    expect(retired.stderr).toMatch(/^Cut off: south, user alice\. A member joins again with a new token/);
  });

  test('keys of gossip are listed by fingerprint, with who has which, and changed', async () => {
    mesh.meshName = 'prod';
    const [old, young] = ['11'.repeat(8), '22'.repeat(8)];
    mesh.keyView = {
      state: 'installing',
      target: young,
      begunMs: Date.now() - 5_500,
      begunBy: mesh.nodeId,
      waitingFor: ['west'],
      keys: [
        { id: young, primary: false, heldBy: ['north'], primaryOf: [] },
        { id: old, primary: true, heldBy: ['north', 'west'], primaryOf: ['north', 'west'] },
      ],
    };
    const [rotated, table, json] = await Promise.all([
      run('mesh', 'keys', 'rotate'),
      run('mesh', 'keys'),
      run('mesh', 'keys', 'list', '-o', 'json'),
    ]);
    expect(rotated).toMatchObject({ code: 0, stdout: `Gossip gets a new key, ${young}.\n` });
    expect(table.stdout).toBe(
      [
        'KEY                STATE                    HELD-BY       SEALS-AT',
        `${young}   new                      north         -`,
        `${old}   in use, to be replaced   north, west   north, west`,
        '',
      ].join('\n'),
    );
    expect(table.stderr).toMatch(/^The new key is brought to the members, begun \ds ago; waiting for west\.\n$/);
    expect(JSON.parse(json.stdout)).toMatchObject({ state: 'KEY_ROTATION_STATE_INSTALLING', target: young });
  });

  test('a certificate is issued for a key that is made here, listed, and taken back', async () => {
    mesh.meshName = 'prod';
    const out = join(directory, 'alice');
    const issued = await run('mesh', 'certificate', 'issue', 'alice', '--days', '30', '--out', out);
    expect(issued).toMatchObject({
      code: 0,
      stdout: `Issued to alice until 2026-12-22 00:00:00: ${out}/alice.crt, ${out}/alice.key, ${out}/ca.crt\n`,
      stderr: expect.stringContaining('marcher mesh certificate revoke 1\n'),
    });
    expect(statSync(join(out, 'alice.key')).mode & 0o777).toBe(0o600);
    createPrivateKey(readFileSync(join(out, 'alice.key')));
    expect(readFileSync(join(out, 'alice.crt'), 'utf8')).toBe('certificate of alice\n');
    expect(readFileSync(join(out, 'ca.crt'), 'utf8')).toBe('root of the mesh\n');
    const [again, outside, table] = await Promise.all([
      run('mesh', 'certificate', 'issue', 'alice', '--out', out),
      run('mesh', 'certificate', 'issue', '../alice', '--out', out),
      run('mesh', 'certificate'),
    ]);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('alice.key exists: move it away')]);
    expect([outside.code, outside.stderr]).toEqual([2, expect.stringContaining('expected 1 to 64 of a-z')]);
    expect(mesh.issued).toHaveLength(1);
    expect(table.stdout.split('\n')[1]).toMatch(/^1 +alice +(?:valid for |expired)/);
    const [revoked, roots] = await Promise.all([
      run('mesh', 'certificate', 'revoke', '1'),
      run('mesh', 'certificate', 'roots'),
    ]);
    expect(revoked).toMatchObject({ code: 0, stdout: 'Nobody is let in by certificate 1 any more.\n' });
    expect(mesh.issued[0]?.revokedMs).toBeDefined();
    expect(roots.stdout).toBe('root of the mesh\n');
  });
});
