// SPDX-License-Identifier: Apache-2.0
/** All parts together: a mesh is made, and a machine that has nothing but a token becomes a node of it. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { firstKeyring } from '../../../domain/identity/gossip-keyring.js';
import { parseToken } from '../../../domain/identity/join-token.js';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import { firstRoot, signingRoot } from '../../../domain/identity/trust.js';
import type { IdentityStore, Protection } from '../../../ports/identity.js';
import { createAuthorityFile, openAuthorityFile } from './authority-file.js';
import { openIdentityDirectory } from './identity-directory.js';
import { JoinTokens } from './join-tokens.js';
import { createMeshListener } from './mesh-listener.js';
import { joinOptions, MeshTls } from './mesh-tls.js';
import { newGossipKey, newMeshId, newNodeId } from './new-ids.js';
import { checkNodeRequest, createNodeRequest } from './node-request.js';
import { fetchPinnedRoot } from './pinned-root.js';
import { testDirectory } from './testing/directory.js';
import { LOW_COST } from './testing/mesh.js';
import { openTokenFile } from './token-records.js';

const protection: Protection = { kind: 'passphrase', passphrase: 'correct horse' };
const nowMs = Date.now();
const now = () => nowMs;

/** What "mesh init" comes to. */
async function initialised(directory: string): Promise<{ store: IdentityStore; nodeId: string; meshId: string }> {
  const mesh = { id: newMeshId(), name: 'edge' };
  const nodeId = newNodeId();
  const authority = await createAuthorityFile(directory, mesh, protection, nowMs, LOW_COST);
  const { privateKeyPem, request } = await createNodeRequest();
  const { pem } = await authority.issueNode(request, nodeId, NO_REVOCATIONS, nowMs);
  const store = openIdentityDirectory(directory);
  store.saveRoots([firstRoot(authority)]);
  store.saveCredentials({ privateKeyPem, certificatePem: pem });
  store.saveKeyring(firstKeyring(newGossipKey()));
  return { store, nodeId, meshId: mesh.id };
}

function meshTlsOf(store: IdentityStore, meshId: string): MeshTls {
  const credentials = store.loadCredentials();
  const roots = store.loadRoots();
  if (credentials === undefined || roots === undefined) throw new Error('nothing was saved');
  return new MeshTls({ meshId, credentials, roots, revocations: NO_REVOCATIONS }, now);
}

async function exchange(port: number, options: ConnectionOptions, line: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ALPNProtocols: ['test'], ...options });
  onTestFinished(() => void socket.destroy());
  socket.write(`${line}\n`);
  return readLine(socket);
}

async function readLine(socket: TLSSocket): Promise<string> {
  let text = '';
  while (!text.includes('\n')) text += String((await once(socket, 'data'))[0]);
  return text.trimEnd();
}

describe('joining', () => {
  it('turns a machine with a token into a node, once', async () => {
    const directory = join(testDirectory(), 'identity');
    const { store, nodeId: home, meshId } = await initialised(directory);
    const root = signingRoot(store.loadRoots() ?? [], nowMs);
    if (root === undefined) throw new Error('no root');
    const authority = await openAuthorityFile(directory, root.certificate.fingerprint, protection);
    const tokens = new JoinTokens(openTokenFile(directory), home);

    const answer = async (line: string, source: string): Promise<unknown> => {
      const { token, request } = JSON.parse(line) as { token: string; request: string };
      const attempt = tokens.attempt(token, source, nowMs);
      if (attempt.kind !== 'good') return attempt;
      await checkNodeRequest(request);
      const redemption = tokens.redeem(token, nowMs);
      if (redemption.kind !== 'redeemed') return redemption;
      const { pem } = await authority.issueNode(request, redemption.nodeId, NO_REVOCATIONS, nowMs);
      return { pem, nodeId: redemption.nodeId };
    };
    const listener = createMeshListener(meshTlsOf(store, meshId), ['test'], {
      peer: (socket, peer) => socket.write(`welcome ${peer.nodeId}\n`),
      stranger: async (socket) => {
        const reply = await answer(await readLine(socket), socket.remoteAddress ?? '');
        socket.end(`${JSON.stringify(reply)}\n`);
      },
      refused: () => {},
    });
    onTestFinished(() => void listener.close());
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const request = { role: 'member', lifetimeMs: 600_000, createdBy: 'test' } as const;
    const { text } = tokens.create({ ...request, rootFingerprint: root.certificate.fingerprint }, nowMs);

    const parsed = parseToken(text);
    if (parsed.kind === 'fault') throw new Error(parsed.reason);
    const { rootFingerprint } = parsed.token;
    const target = { host: '127.0.0.1', port, protocols: ['test'], rootFingerprint, timeoutMs: 5_000 };
    const pinned = await fetchPinnedRoot(target, nowMs);
    const options = joinOptions(pinned.meshId, pinned.roots, parsed.token.home, now);
    const mine = await createNodeRequest();
    const asked = JSON.stringify({ token: text, request: mine.request });
    const granted = JSON.parse(await exchange(port, options, asked)) as { pem: string; nodeId: string };

    const own = openIdentityDirectory(join(testDirectory(), 'identity'));
    own.saveRoots([pinned.root]);
    own.saveCredentials({ privateKeyPem: mine.privateKeyPem, certificatePem: granted.pem });
    const joined = meshTlsOf(own, pinned.meshId);
    expect(await exchange(port, joined.dialOptions(home), 'hello')).toBe(`welcome ${granted.nodeId}`);
    expect(JSON.parse(await exchange(port, options, asked))).toMatchObject({ refusal: 'used' });
  });
});
