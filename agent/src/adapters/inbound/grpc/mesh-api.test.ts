// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import {
  NodeHealthSchema,
  NodeLoadSchema,
  NodeTiersSchema,
  NodeVersionSchema,
} from '@marcher/proto/marcher/mesh/v1/node_state_pb';
import { MemberState, MeshService, NodeRole } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InMemoryMesh } from '../testing/in-memory-mesh.js';
import { InMemoryUseCases } from '../testing/in-memory-use-cases.js';
import { type ApiServer, createApiServer } from './api-server.js';

const caller = { author: 'root (uid 0)', origin: 'api', via: 'socket', source: '' };
const month = 30 * 86_400_000;

let directory: string;
let server: ApiServer;
let mesh: InMemoryMesh;
let client: Client<typeof MeshService>;
let logged: { level: string; message: string; fields: Record<string, unknown> }[];

async function serve(present: InMemoryMesh | undefined, uid = 0): Promise<void> {
  const socketPath = join(directory, 'marcher.sock');
  const log = (level: string) => (fields: object, message: string) => {
    logged.push({ level, message, fields: fields as Record<string, unknown> });
  };
  const { config, node, traffic } = new InMemoryUseCases();
  server = createApiServer({
    useCases: { config, node, traffic, mesh: present },
    peerCredentials: () => ({ pid: 1, uid, gid: 0, member: false }),
    logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    socketPath,
    limits: { stopMs: 500 },
  });
  await server.start();
  const nodeOptions = { createConnection: () => connect({ path: socketPath }) };
  client = createClient(MeshService, createGrpcTransport({ baseUrl: 'http://localhost', nodeOptions }));
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-mesh-api-'));
  mesh = new InMemoryMesh();
  logged = [];
});

afterEach(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function failure(promise: Promise<unknown>): Promise<ConnectError> {
  return await promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

describe('MeshService', () => {
  test('a node in no mesh says so, is made the first of one, and not of a second', async () => {
    await serve(mesh);
    expect((await client.getMesh({})).mesh).toMatchObject({ meshId: '', meshName: '', admitted: false });
    const { mesh: made } = await client.initMesh({ name: 'prod' });
    const whole = { meshId: 'ab'.repeat(16), meshName: 'prod', nodeId: mesh.nodeId, admitted: true, signs: true };
    expect(made).toMatchObject({ ...whole, configHash: 'c0ffee'.repeat(8) });
    expect((await client.getMesh({})).mesh).toEqual(made);
    expect(mesh.callers).toMatchObject([caller]);
    expect(await failure(client.initMesh({ name: 'other' }))).toMatchObject({
      code: Code.Aborted,
      rawMessage: 'this node is in mesh prod',
    });
  });

  test.each(['', '-a', 'a-', 'Prod', 'a.b', 'x'.repeat(64), 'x'.repeat(100_000)])(
    'a name that no mesh may have never comes to the use case (%#)',
    async (name) => {
      await serve(mesh);
      const error = await failure(client.initMesh({ name }));
      expect(error.code).toBe(Code.InvalidArgument);
      expect(error.rawMessage).toMatch(/^name is ".*": expected 1 to 63 of a-z/);
      expect(error.rawMessage.length).toBeLessThan(200);
      expect(mesh.meshName).toBe('');
    },
  );

  test('a token: an hour for a member unless said otherwise; listed without its secret; taken back', async () => {
    await serve(mesh);
    const { token, address, details } = await client.createJoinToken({});
    expect([token, address]).toEqual(['marcher1secret1', '192.0.2.1:7400']);
    const createdMs = Date.UTC(2026, 10, 22);
    const first = {
      id: '0000000000000001',
      role: NodeRole.MEMBER,
      created: timestampFromMs(createdMs),
      expires: timestampFromMs(createdMs + 3_600_000),
      createdBy: 'root (uid 0)',
      usedBy: '',
    };
    expect(details).toMatchObject(first);
    await client.createJoinToken({ role: NodeRole.AUTHORITY, lifetimeMs: 604_800_000 });
    mesh.made[1] = { ...(mesh.made[1] as (typeof mesh.made)[1]), usedBy: '00000000000000b2' };
    const { tokens } = await client.listJoinTokens({});
    expect(tokens).toMatchObject([first, { role: NodeRole.AUTHORITY, usedBy: '00000000000000b2' }]);
    expect(tokens[1]?.expires).toEqual(timestampFromMs(createdMs + 604_800_000));
    expect(JSON.stringify(tokens, (_key, value) => (typeof value === 'bigint' ? Number(value) : value))).not.toContain(
      'secret',
    );
    await client.revokeJoinToken({ id: first.id });
    expect((await client.listJoinTokens({})).tokens.map(({ id }) => id)).toEqual(['0000000000000002']);
    expect((await failure(client.revokeJoinToken({ id: first.id }))).code).toBe(Code.NotFound);
    expect(mesh.callers).toMatchObject([caller, caller, caller]);
  });

  test('lifetimes, roles and ids that are none are refused, and a token given as an id is not repeated', async () => {
    await serve(mesh);
    for (const lifetimeMs of [1, 59_999, 604_800_001]) {
      const error = await failure(client.createJoinToken({ lifetimeMs }));
      expect(error.code).toBe(Code.InvalidArgument);
      expect(error.rawMessage).toBe(`lifetime_ms is ${lifetimeMs}: a join token lasts from 1 minute to 7 days`);
    }
    expect((await failure(client.createJoinToken({ role: 7 as NodeRole }))).code).toBe(Code.InvalidArgument);
    const wrong = await failure(client.revokeJoinToken({ id: 'marcher1secret1' }));
    expect(wrong.code).toBe(Code.InvalidArgument);
    expect(wrong.rawMessage).not.toContain('secret');
    expect((await failure(client.revokeJoinToken({ id: '00000000000000A1' }))).code).toBe(Code.InvalidArgument);
    expect(mesh.callers).toMatchObject([]);
  });

  test('members: each state, how far behind or not known, when their certificates expire', async () => {
    await serve(mesh);
    expect((await client.listMembers({})).members).toEqual([]);
    await client.initMesh({ name: 'prod' });
    const states = ['alive', 'suspect', 'dead', 'left', 'unknown'] as const;
    for (const [at, state] of states.entries()) mesh.member(`00000000000000b${at}`, `b${at}`, state, at || undefined);
    const { members } = await client.listMembers({});
    const { SELF, ALIVE, SUSPECT, DEAD, LEFT, UNKNOWN } = MemberState;
    expect(members.map(({ state }) => state)).toEqual([SELF, ALIVE, SUSPECT, DEAD, LEFT, UNKNOWN]);
    expect(members.map(({ behind }) => behind)).toEqual([0n, undefined, 1n, 2n, 3n, 4n]);
    expect(members[1]).toMatchObject({ nodeId: '00000000000000b0', name: 'b0', address: '192.0.2.2:7400' });
    expect(members.some(({ status }) => status !== undefined)).toBe(false);
    const expires = Number(members[1]?.certificateExpires?.seconds) * 1000;
    expect(Math.abs(expires - Date.now() - month)).toBeLessThan(60_000);
  });

  test('members: how they say that they are doing', async () => {
    await serve(mesh);
    await client.initMesh({ name: 'prod' });
    mesh.member('00000000000000b0', 'b', 'alive', 0, {
      saidMs: 5_000,
      version: create(NodeVersionSchema, { agent: '0.1.0', engine: '0.1.1' }),
      health: create(NodeHealthSchema, {
        draining: true,
        unmet: ['InService'],
        unhealthy: [{ service: 'web', backend: 'b1' }],
        unhealthyCount: 7,
      }),
      tiers: create(NodeTiersSchema, { tiers: [{ tier: 'xdp', services: 2 }] }),
      load: create(NodeLoadSchema, { connections: 9n, services: [{ service: 'web', connections: 8n }] }),
    });
    mesh.member('00000000000000b1', 'c', 'alive', 0, { saidMs: 6_000 });
    const [, whole, little] = (await client.listMembers({})).members;
    expect(whole?.status).toMatchObject({
      said: { seconds: 5n },
      version: '0.1.0',
      engineVersion: '0.1.1',
      ready: false,
      draining: true,
      unmet: ['InService'],
      unhealthy: [{ service: 'web', backend: 'b1' }],
      unhealthyCount: 7,
      tiers: [{ tier: 'xdp', services: 2 }],
      connections: 9n,
      services: [{ service: 'web', connections: 8n }],
    });
    expect(little?.status).toMatchObject({ said: { seconds: 6n }, version: '', ready: false, connections: 0n });
  });

  test('a member is removed by id or by name; this node, nobody, and no name are refused', async () => {
    await serve(mesh);
    mesh.member('00000000000000b2', 'b', 'dead');
    mesh.member('00000000000000b3', 'c', 'alive');
    await client.removeMember({ node: 'b' });
    await client.removeMember({ node: '00000000000000b3' });
    expect([mesh.removed, mesh.keepingKeys]).toEqual([['b', '00000000000000b3'], []]);
    expect((await failure(client.removeMember({ node: 'b' }))).code).toBe(Code.NotFound);
    expect((await failure(client.removeMember({ node: mesh.nodeId }))).code).toBe(Code.FailedPrecondition);
    expect((await failure(client.removeMember({}))).code).toBe(Code.InvalidArgument);
    expect((await failure(client.removeMember({ node: 'x'.repeat(254) }))).code).toBe(Code.InvalidArgument);
  });

  test('this node leaves; as the only one that signs only by force', async () => {
    await serve(mesh);
    expect((await failure(client.leaveMesh({}))).code).toBe(Code.FailedPrecondition);
    await client.initMesh({ name: 'prod' });
    mesh.member('00000000000000b2', 'b', 'departed');
    expect((await client.listMembers({})).members.at(-1)?.state).toBe(MemberState.DEPARTED);
    mesh.onlyAuthority = true;
    expect((await failure(client.leaveMesh({}))).code).toBe(Code.FailedPrecondition);
    const left = { meshName: 'prod', told: true, identityPath: '/var/lib/marcher/identity-left-1' };
    expect(await client.leaveMesh({ force: true })).toMatchObject(left);
    expect((await client.getMesh({})).mesh?.meshId).toBe('');
  });

  test('keys of gossip: their fingerprints, states and holders; a new one is begun', async () => {
    await serve(mesh);
    expect((await failure(client.rotateGossipKey({}))).code).toBe(Code.FailedPrecondition);
    await client.initMesh({ name: 'prod' });
    expect(await client.rotateGossipKey({})).toMatchObject({ keyId: '22'.repeat(8) });
    const use = { id: '22'.repeat(8), primary: true, heldBy: ['north', 'b'], primaryOf: ['north'] };
    const states = { done: 1, installing: 2, using: 3, removing: 4 };
    for (const [state, value] of Object.entries(states)) {
      const waitingFor = value === 3 ? ['b'] : [];
      const since = { begunMs: month, begunBy: mesh.nodeId, target: use.id };
      mesh.keyView = { ...since, state: state as keyof typeof states, waitingFor, keys: [use] };
      const answer = await client.listGossipKeys({});
      expect(answer).toMatchObject({ state: value, waitingFor, target: use.id, begunBy: mesh.nodeId });
      expect(answer.begun).toEqual(timestampFromMs(month));
      expect(answer.keys).toMatchObject([
        { keyId: use.id, primary: true, heldBy: ['north', 'b'], primaryOf: ['north'] },
      ]);
    }
  });

  test("the CA's roots are told with who trusts and needs them, another made, an old one retired", async () => {
    await serve(mesh);
    const [old = '', made] = [mesh.caRoots[0]?.fingerprint, 'b2'.repeat(32)];
    const { roots } = await client.getMeshCa({});
    expect(roots).toMatchObject([{ fingerprint: old, state: 2, trustedBy: ['north', 'south'], keyHeldBy: ['north'] }]);
    const leaves = [
      { member: 'south', user: '', serial: 'ab' },
      { member: '', user: 'alice', serial: 'cd' },
    ];
    expect(roots[0]?.leaves).toMatchObject(leaves);
    expect([roots[0]?.planned, roots[0]?.retired]).toEqual([undefined, undefined]);
    const month30 = 30 * 86_400_000;
    expect((await failure(client.rotateMeshCa({ overlapMs: month30 + 1 }))).code).toBe(Code.InvalidArgument);
    const rotated = await client.rotateMeshCa({});
    expect(rotated).toMatchObject({ introduced: true, root: { fingerprint: made, state: 1 } });
    expect(rotated.root?.signsFrom).toBeUndefined();
    await client.rotateMeshCa({ overlapMs: month30, now: true });
    expect(mesh.rotations).toEqual([
      { overlapMs: 86_400_000, now: false },
      { overlapMs: month30, now: true },
    ]);
    for (const fingerprint of ['', 'a1a1a1a', 'A1A1A1A1', 'a'.repeat(65)]) {
      expect((await failure(client.retireMeshRoot({ fingerprint }))).code).toBe(Code.InvalidArgument);
    }
    expect((await failure(client.retireMeshRoot({ fingerprint: 'ee'.repeat(8) }))).code).toBe(Code.NotFound);
    expect((await failure(client.retireMeshRoot({ fingerprint: old }))).code).toBe(Code.FailedPrecondition);
    const retired = await client.retireMeshRoot({ fingerprint: old.slice(0, 8), force: true });
    expect(retired).toMatchObject({ root: { fingerprint: old, state: 4 }, cutOff: leaves });
  });

  test('certificates of operators are issued for 90 days or as asked, listed and revoked', async () => {
    await serve(mesh);
    const certificateRequest = Uint8Array.of(1);
    const first = await client.issueClientCertificate({ user: 'alice', certificateRequest });
    expect(first).toMatchObject({ certificate: 'certificate of alice\n', roots: 'root of the mesh\n' });
    await client.issueClientCertificate({ user: 'bob', certificateRequest, days: 1 });
    const { certificates } = await client.listClientCertificates({});
    const days = certificates.map(({ user, created, expires }) => {
      return [user, (Number(expires?.seconds) - Number(created?.seconds)) / 86_400];
    });
    expect(days).toEqual([
      ['bob', 1],
      ['alice', 90],
    ]);
    await client.revokeClientCertificate({ serial: first.details?.serial ?? '' });
    expect((await client.listClientCertificates({})).certificates[1]?.revoked).toBeDefined();
    const code = async (promise: Promise<unknown>): Promise<Code> => (await failure(promise)).code;
    expect(await code(client.revokeClientCertificate({ serial: '99' }))).toBe(Code.NotFound);
    expect(await code(client.revokeClientCertificate({ serial: '0A' }))).toBe(Code.InvalidArgument);
    expect(await code(client.issueClientCertificate({ user: 'Alice', certificateRequest }))).toBe(Code.InvalidArgument);
    expect(await code(client.issueClientCertificate({ user: 'al', certificateRequest, days: 366 }))).toBe(
      Code.InvalidArgument,
    );
    expect((await client.listRoots({})).roots).toBe('root of the mesh\n');
  });

  test('revocation lists are told, and left out where they are known', async () => {
    const mesh = new InMemoryMesh();
    await serve(mesh);
    const { digest, lists } = await client.listRevocations({});
    expect(lists).toEqual(['list of a\n', 'list of b\n']);
    expect(await client.listRevocations({ knownDigest: digest })).toMatchObject({ digest, lists: [] });
    mesh.lists = ['list of a\nlist of b\n'];
    expect((await client.listRevocations({ knownDigest: digest })).lists).toEqual(mesh.lists);
  });

  test('clusters: what is given is bounded, and each call has its code', async () => {
    await serve(mesh);
    await client.initMesh({ name: 'prod' });
    const code = async (promise: Promise<unknown>): Promise<Code> => (await failure(promise)).code;
    await client.createCluster({ name: 'eu' });
    expect(await code(client.createCluster({ name: 'eu' }))).toBe(Code.Aborted);
    for (const name of ['', 'EU', 'x'.repeat(64)]) {
      expect(await code(client.createCluster({ name }))).toBe(Code.InvalidArgument);
      expect(await code(client.assignClusters({ node: 'north', clusters: [name] }))).toBe(Code.InvalidArgument);
      expect(await code(client.createJoinToken({ clusters: [name] }))).toBe(Code.InvalidArgument);
    }
    const many = Array.from({ length: 17 }, (_, i) => `c${i}`);
    for (const clusters of [[], many]) {
      expect(await code(client.assignClusters({ node: 'north', clusters }))).toBe(Code.InvalidArgument);
      expect(await code(client.unassignClusters({ node: 'north', clusters }))).toBe(Code.InvalidArgument);
    }
    expect(await code(client.assignClusters({ node: '', clusters: ['eu'] }))).toBe(Code.InvalidArgument);
    expect(await code(client.assignClusters({ node: 'north', clusters: ['us'] }))).toBe(Code.NotFound);
    await client.assignClusters({ node: 'north', clusters: ['eu'] });
    mesh.clusterObjects = 2;
    expect((await client.listClusters({})).clusters).toMatchObject([
      { name: 'eu', objects: 2n, nodes: [{ name: 'north' }] },
    ]);
    expect((await client.getMesh({})).mesh?.clusters).toMatchObject([{ name: 'eu', admitted: true }]);
    expect(await code(client.unassignClusters({ node: 'north', clusters: ['eu'] }))).toBe(Code.FailedPrecondition);
    await client.unassignClusters({ node: 'north', clusters: ['eu'], force: true });
    await client.deleteCluster({ name: 'eu', force: true });
    expect(await code(client.deleteCluster({ name: 'eu' }))).toBe(Code.NotFound);
  });

  test('an agent without a mesh answers every call with how to start it', async () => {
    await serve(undefined);
    for (const { localName } of MeshService.methods) {
      const call = client[localName as keyof typeof client] as (request: object) => Promise<unknown>;
      const error = await failure(call({}));
      expect(error.code).toBe(Code.Unimplemented);
      expect(error.rawMessage).toMatch(/^this agent was started without --mesh: start it with marcherd --mesh /);
    }
  });

  test('changes are logged with their caller at info, reading at debug, and never a token', async () => {
    await serve(mesh);
    await client.initMesh({ name: 'prod' });
    await client.createJoinToken({});
    await client.revokeJoinToken({ id: '0000000000000001' });
    await failure(client.removeMember({ node: 'nobody' }));
    await client.listMembers({});
    const calls = logged.flatMap(({ level, message, fields }) => {
      const { method, caller: who, code } = fields;
      return method === undefined ? [] : [[level, message, String(method).split('/')[1], who, code]];
    });
    const { author } = caller;
    expect(calls).toEqual([
      ['info', 'change made', 'InitMesh', author, 'ok'],
      ['info', 'change made', 'CreateJoinToken', author, 'ok'],
      ['info', 'change made', 'RevokeJoinToken', author, 'ok'],
      ['info', 'change refused', 'RemoveMember', author, 'NotFound'],
      ['debug', 'call', 'ListMembers', author, 'ok'],
    ]);
    expect(JSON.stringify(logged)).not.toContain('secret');
  });

  test.skipIf(process.getuid?.() === 4711)('whoever may not use the socket gets no token', async () => {
    await serve(mesh, 4711);
    expect((await failure(client.createJoinToken({}))).code).toBe(Code.PermissionDenied);
    expect(mesh.texts).toEqual([]);
  });
});
