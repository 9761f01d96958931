// SPDX-License-Identifier: Apache-2.0
/** A machine joins by a real mesh port, and what the port answers is not simply believed. */
import { createServer } from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { formatToken } from '../../../domain/identity/join-token.js';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import type { CertificateAuthority } from '../../../ports/identity.js';
import type { Admit, JoinAnswer, JoinGrant, JoinRequest } from '../../../ports/mesh.js';
import { MeshTls } from '../identity/mesh-tls.js';
import { createNodeRequest } from '../identity/node-request.js';
import { listening } from '../identity/testing/door.js';
import { rootOf, testAuthority } from '../identity/testing/mesh.js';
import { join } from './join-client.js';
import { openMeshSession } from './mesh-session.js';
import { identity, idOf, openServer, type TestIdentity } from './testing/live-mesh.js';

let authority: CertificateAuthority;
let foreign: CertificateAuthority;
let home: TestIdentity;
const HOME = idOf(1n);
const NEW = idOf(7n);

beforeAll(async () => {
  const nowMs = Date.now();
  [authority, foreign] = await Promise.all([testAuthority(nowMs), testAuthority(nowMs, '2')]);
  home = await identity(authority, 1n);
});

function token(of: CertificateAuthority = authority, by = HOME): string {
  const secret = new Uint8Array(20).fill(5);
  return formatToken({ home: by, id: '0123456789abcdef', secret, rootFingerprint: of.certificate.fingerprint });
}

async function grantTo(request: JoinRequest['certificateRequest'] | string, by = authority): Promise<JoinGrant> {
  const { pem } = await by.issueNode(request, NEW, NO_REVOCATIONS, Date.now());
  const node = {
    ...{ nodeId: HOME, name: 'first', meshAddress: '192.0.2.1:7400', gossipAddress: '192.0.2.1:7401', role: 'member' },
    ...{
      certificates: [new Uint8Array(9)],
      frameKey: new Uint8Array(32),
      frameKeySignature: new Uint8Array(96),
      removedMs: 0n,
    },
  };
  return {
    ...{ nodeId: NEW, role: 'member', certificatePem: pem, roots: [by.pem], revocationLists: [] },
    ...{ gossipKeys: [new Uint8Array(32).fill(1)], nodes: [node], sealedAuthority: '' },
  };
}

const granted = (grant: JoinGrant): JoinAnswer => ({ kind: 'granted', grant });

async function joinBy(admit: Admit, text = token(), timeoutMs = 10_000): ReturnType<typeof join> {
  const { port } = await openServer(home, { admit });
  return joinAt(`127.0.0.1:${port}`, text, timeoutMs);
}

function joinAt(address: string, text = token(), timeoutMs = 10_000): ReturnType<typeof join> {
  const addresses = { meshAddress: '192.0.2.7:7400', gossipAddress: '192.0.2.7:7401' };
  const keys = { frameKey: new Uint8Array(32).fill(7), claim: () => new Uint8Array(96).fill(9) };
  return join({ token: text, address, name: 'seventh', ...addresses, ...keys, timeoutMs }, () => Date.now());
}

describe('joining', () => {
  test('makes a node of a machine, which the mesh then lets in', async () => {
    const asked: [JoinRequest, string][] = [];
    const opened = await openServer(home, {
      admit: async (request, source) => {
        asked.push([request, source]);
        return granted(await grantTo(request.certificateRequest));
      },
    });
    // As it comes out of a terminal.
    const joined = await joinAt(`127.0.0.1:${opened.port}`, ` ${token().replace('1', '1\n')}\n`);
    expect(asked).toMatchObject([[{ token: token(), name: 'seventh', meshAddress: '192.0.2.7:7400' }, '127.0.0.1']]);
    const { grant, privateKeyPem, meshId, meshName, root } = joined;
    expect({ meshId, meshName, root: root.pem }).toEqual({
      meshId: authority.mesh.id,
      meshName: 'test-mesh',
      root: authority.pem,
    });
    expect(grant).toMatchObject({ nodeId: NEW, role: 'member', roots: [authority.pem], nodes: [{ nodeId: HOME }] });
    expect(grant.gossipKeys).toEqual([new Uint8Array(32).fill(1)]);

    const credentials = { privateKeyPem, certificatePem: grant.certificatePem };
    const mesh = new MeshTls({ meshId, credentials, roots: [root], revocations: NO_REVOCATIONS }, Date.now);
    const target = { host: '127.0.0.1', port: opened.port };
    const session = await openMeshSession(target, { tls: mesh.dialOptions(HOME), timeoutMs: 10_000 });
    session.http2.destroy();
    expect(opened.lines).toEqual([]);
  });

  test('takes all nodes of a large mesh', async () => {
    const admit: Admit = async ({ certificateRequest }) => {
      const grant = await grantTo(certificateRequest);
      const [node] = grant.nodes;
      if (node === undefined) throw new Error('no node');
      return granted({ ...grant, nodes: Array(4_000).fill({ ...node, certificates: [new Uint8Array(3_000)] }) });
    };
    expect((await joinBy(admit)).grant.nodes).toHaveLength(4_000);
  });

  test('fails with what the operator can do: refused, slowed, or the node has failed', async () => {
    const refusal: Admit = async () => ({ kind: 'refused', reason: 'the join token expired: make another one' });
    await expect(joinBy(refusal)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('does not let this machine join: the join token expired: make another one'),
    });
    const slowed: Admit = async () => ({ kind: 'refused', reason: 'too many attempts', retryAfterMs: 2_500 });
    await expect(joinBy(slowed)).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining('3 s') });
    await expect(joinBy(() => Promise.reject(new Error('broken')))).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('its log says why'),
    });
    await expect(joinBy(() => new Promise(() => {}), token(), 500)).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining('whether the token was used'),
    });
  });

  test('goes to nobody but the home of the token', async () => {
    const admit: Admit = () => Promise.reject(new Error('was asked'));
    await expect(joinBy(admit, token(foreign))).rejects.toMatchObject({ code: 'wrong-ca' });
    await expect(joinBy(admit, token(authority, idOf(2n)))).rejects.toMatchObject({
      code: 'wrong-ca',
      message: expect.stringContaining('give the address of the node that made the token'),
    });
    await expect(joinBy(admit, 'marcher1nonsense')).rejects.toMatchObject({ code: 'invalid' });
    for (const address of ['192.0.2.1', '[::1', 'unix:/run/x', '']) {
      await expect(joinAt(address)).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('192.0.2.1:7400'),
      });
    }
  });

  test('says that nobody answers, or nobody who takes in others', async () => {
    const silent = createServer();
    const port = await listening(silent);
    await expect(joinAt(`127.0.0.1:${port}`, token(), 300)).rejects.toMatchObject({ code: 'io' });
    await expect(joinAt('127.0.0.1:1')).rejects.toMatchObject({ code: 'io', message: expect.stringContaining(':1') });
    const opened = await openServer(home);
    await expect(joinAt(`127.0.0.1:${opened.port}`)).rejects.toMatchObject({ code: 'io' });
    onTestFinished(() => void silent.close());
  });

  test('takes another root for its own only with the one that the token names', async () => {
    const next = await testAuthority(Date.now());
    const both: Admit = async ({ certificateRequest }) =>
      granted({ ...(await grantTo(certificateRequest, next)), roots: [next.pem, authority.pem] });
    expect((await joinBy(both)).grant.roots).toEqual([next.pem, rootOf(authority).pem]);
    const alone: Admit = async ({ certificateRequest }) => granted(await grantTo(certificateRequest, next));
    await expect(joinBy(alone)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('the root'),
    });
  });

  const wrong: [string, (right: JoinGrant) => Promise<Partial<JoinGrant>>][] = [
    ['for another key', async () => grantTo((await createNodeRequest()).request)],
    ['for another node', async () => ({ nodeId: idOf(8n) })],
    ['with no certificate', async () => ({ certificatePem: 'none' })],
    ['signed by no root that it has', async (right) => ({ certificatePem: right.roots[0] ?? '' })],
    ['with a root of another mesh', async ({ roots }) => ({ roots: [...roots, foreign.pem] })],
    ['with a root that is none', async ({ roots }) => ({ roots: [...roots, 'none'] })],
    ['with no root', async () => ({ roots: [] })],
    ['with a role that nobody knows', async () => ({ role: 'king' as 'member' })],
    ['with no gossip key', async () => ({ gossipKeys: [] })],
    ['with a short gossip key', async () => ({ gossipKeys: [new Uint8Array(16)] })],
  ];
  test.each(wrong)('does not take an answer %s', async (_, change) => {
    const admit: Admit = async ({ certificateRequest }) => {
      const right = await grantTo(certificateRequest);
      return granted({ ...right, ...(await change(right)) });
    };
    await expect(joinBy(admit)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('can not be used'),
    });
  });
});
