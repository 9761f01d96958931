// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { connect, createServer } from 'node:tls';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Peer } from '../../../domain/identity/peer.js';
import { NO_REVOCATIONS, nodeSerial, type Revocations } from '../../../domain/identity/revocation.js';
import type { CertificateAuthority, NodeCredentials } from '../../../ports/identity.js';
import { closing } from '../../../testing/closing.js';
import { createMeshListener, LISTENER_LIMITS } from './mesh-listener.js';
import { joinOptions, MeshTls, type MeshTlsMaterial, PROTOCOL } from './mesh-tls.js';
import { fetchPinnedRoot } from './pinned-root.js';
import { testClient } from './testing/client.js';
import { NODE_A, NODE_B } from './testing/directory.js';
import { careless, type Door, dial, listening, openDoor } from './testing/door.js';
import { rootOf, testAuthority, testNode } from './testing/mesh.js';

const DAY = 86_400_000;
const NOW = Date.now();
const now = () => NOW;

type Node = NodeCredentials & { readonly serial: string };
let authority: CertificateAuthority;
let server: Node;
let client: Node;

beforeAll(async () => {
  authority = await testAuthority(NOW - 60 * DAY);
  [server, client] = await Promise.all([testNode(authority, NODE_A, NOW), testNode(authority, NODE_B, NOW)]);
});

function material(credentials: NodeCredentials, changed: Partial<MeshTlsMaterial> = {}): MeshTlsMaterial {
  const { mesh } = authority;
  return { meshId: mesh.id, credentials, roots: [rootOf(authority)], revocations: NO_REVOCATIONS, ...changed };
}

function revoked(serial: string): Revocations {
  return new Map([[serial, { serial, revokedAtMs: NOW, reason: 1 }]]);
}

function ownDoor(): Promise<Door> {
  return openDoor(new MeshTls(material(server), now));
}

async function offered(credentials: NodeCredentials | undefined, door?: Door): Promise<Peer | string> {
  const open = door ?? (await ownDoor());
  const [verdict] = await Promise.all([open.next(), dial(open.port, careless(credentials))]);
  return verdict;
}

describe('nodes of one mesh', () => {
  it('know each other by their ids, over TLS 1.3 and P-384', async () => {
    const door = await ownDoor();
    const verdict = door.next();
    expect(await dial(door.port, new MeshTls(material(client), now).dialOptions(NODE_A))).toBe('hello');
    expect(await verdict).toEqual({
      meshId: authority.mesh.id,
      nodeId: NODE_B,
      serial: client.serial,
      expiresAtMs: Math.floor((NOW + 30 * DAY) / 1_000) * 1_000,
    });
    const [socket] = door.sockets;
    expect(socket?.getProtocol()).toBe('TLSv1.3');
    expect(socket?.getCipher().name).toBe('TLS_AES_256_GCM_SHA384');
  });

  it('speak HTTP/2 through the door', async () => {
    const web = createHttp2Server();
    web.on('stream', (stream) => stream.respond({ ':status': 204 }, { endStream: true }));
    const listener = createMeshListener(new MeshTls(material(server), now), ['h2'], {
      peer: (socket) => void web.emit('connection', socket),
      refused: () => {},
    });
    const port = await listening(listener);
    const session = connectHttp2(`https://127.0.0.1:${port}`, new MeshTls(material(client), now).dialOptions(NODE_A));
    onTestFinished(() => void session.destroy());
    const [headers] = await once(session.request({ ':path': '/' }), 'response');
    expect(headers[':status']).toBe(204);
  });

  it('never resume a session, as it would not be verified anew', async () => {
    const door = await ownDoor();
    const options = new MeshTls(material(client), now).dialOptions();
    const first = connect({ host: '127.0.0.1', port: door.port, ALPNProtocols: ['h2'], ...options });
    onTestFinished(() => void first.destroy());
    const [session] = await once(first, 'session');
    const second = connect({ host: '127.0.0.1', port: door.port, ALPNProtocols: ['h2'], ...options, session });
    onTestFinished(() => void second.destroy());
    await once(second, 'secureConnect');
    expect(second.isSessionReused()).toBe(false);
  });
});

describe('the listener', () => {
  it('tells a client without a certificate apart, which may join', async () => {
    expect(await offered(undefined)).toBe('stranger');
  });

  it('closes on one without a certificate when nobody joins there', async () => {
    const refused: string[] = [];
    const listener = createMeshListener(new MeshTls(material(server), now), ['h2'], {
      peer: () => {},
      refused: (refusal) => void refused.push(refusal),
    });
    expect(await dial(await listening(listener), careless(undefined))).toMatch(/closed|ECONNRESET/);
    expect(refused).toEqual(['no-certificate']);
  });

  it('refuses a certificate of another CA that says it is of this mesh', async () => {
    const other = await testAuthority(NOW);
    expect(await offered(await testNode(other, NODE_B, NOW))).toBe('wrong-ca');
  });

  it('refuses a certificate of another mesh', async () => {
    const door = await ownDoor();
    const other = await testAuthority(NOW, '2');
    expect(await offered(await testNode(other, NODE_B, NOW), door)).toBe('other-mesh');
    expect(door.reasons[0]).toContain('2'.repeat(32));
  });

  it("refuses a node's certificate of another mesh though its root is trusted, by the root's name constraints", async () => {
    const other = await testAuthority(NOW, '2');
    const mesh = new MeshTls(material(server, { roots: [rootOf(authority), rootOf(other)] }), now);
    expect(await offered(await testNode(other, NODE_B, NOW), await openDoor(mesh))).toBe('other-mesh');
  });

  it("refuses an operator's certificate, which the same root has signed", async () => {
    expect(await offered(await testClient(authority, 'alice', NOW))).toBe('no-node-id');
  });

  it('refuses a certificate that has expired, or is not valid yet', async () => {
    expect(await offered(await testNode(authority, NODE_B, NOW - 31 * DAY))).toBe('expired');
    expect(await offered(await testNode(authority, NODE_B, NOW + DAY))).toBe('not-yet-valid');
  });

  it('goes by its own clock as well', async () => {
    const late = () => NOW + 31 * DAY;
    expect(await offered(client, await openDoor(new MeshTls(material(server), late)))).toBe('expired');
  });

  it('refuses a certificate that was revoked, and a node', async () => {
    const bySerial = new MeshTls(material(server, { revocations: revoked(client.serial) }), now);
    expect(await offered(client, await openDoor(bySerial))).toBe('revoked');
    const byNode = new MeshTls(material(server, { revocations: revoked(nodeSerial(NODE_B)) }), now);
    expect(await offered(client, await openDoor(byNode))).toBe('revoked');
  });

  it('could leave it to OpenSSL to read the list of what was revoked', async () => {
    const { pem } = await authority.signRevocations(revoked(client.serial), 1n, NOW);
    const { privateKeyPem: key, certificatePem: cert } = server;
    const options = {
      ...PROTOCOL,
      key,
      cert,
      ca: authority.pem,
      crl: pem,
      requestCert: true,
      rejectUnauthorized: false,
    };
    const errors: string[] = [];
    const other = createServer(options, (socket) => {
      errors.push(String(socket.authorizationError));
      socket.end('hello');
    });
    const port = await listening(other);
    expect(await dial(port, { ...careless(client), ALPNProtocols: [] })).toBe('hello');
    expect(errors).toEqual(['CERT_REVOKED']);
  });

  it('refuses TLS 1.2', async () => {
    const door = await ownDoor();
    const verdict = door.next();
    const options = {
      ...careless(client),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE+AESGCM',
    } as const;
    await dial(door.port, options);
    expect(await verdict).toBe('handshake');
    expect(door.reasons[0]).toBe('the TLS handshake failed: unsupported protocol');
  });

  it('refuses another curve than P-384', async () => {
    const door = await ownDoor();
    const verdict = door.next();
    expect(await dial(door.port, { ...careless(client), ecdhCurve: 'X25519' })).toMatch(/HANDSHAKE_FAILURE|ECONNRESET/);
    expect(await verdict).toBe('handshake');
  });

  it('is not impressed by what is no TLS', async () => {
    const door = await ownDoor();
    const verdict = door.next();
    const socket = connectTcp(door.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {});
    socket.write('GET / HTTP/1.0\r\n\r\n');
    expect(await verdict).toBe('handshake');
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
  });

  it('lets nodes in past those who open connections and say nothing', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, handshakesPerSourceMax: 1 });
    const silent = connectTcp(door.port, '127.0.0.1');
    onTestFinished(() => void silent.destroy());
    const closed = closing(silent.resume());
    const seen = [door.next(), door.next(), door.next()];
    await once(silent, 'connect');
    expect(await dial(door.port, careless(client))).toBe('hello');
    expect(await Promise.all(seen)).toEqual([
      'too-many-handshakes',
      'handshake',
      expect.objectContaining({ nodeId: NODE_B }),
    ]);
    await closed;
  });

  it('ends no connection whose handshake is done for the sake of another', async () => {
    const door = await openDoor(new MeshTls(material(server), now), {
      ...LISTENER_LIMITS,
      handshakesPerSourceMax: 1,
      handshakesMax: 1,
    });
    for (let at = 0; at < 3; at++) expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
    expect(door.sockets.map(({ destroyed }) => destroyed)).toEqual([false, false, false]);
    expect(door.reasons).toEqual([]);
  });

  it('bounds how many connections are open', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, connectionsMax: 1 });
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
    expect(await offered(client, door)).toBe('too-many-connections');
  });

  it('bounds how many strangers are in, and lets nodes in all the same', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, strangersMax: 1 });
    expect(await offered(undefined, door)).toBe('stranger');
    // Who has done nothing with it for longest makes room: nobody keeps others from joining by being there.
    const seen = [door.next(), door.next()];
    await dial(door.port, careless(undefined));
    expect(await Promise.all(seen)).toEqual(['too-many-strangers', 'stranger']);
    expect(door.sockets.map(({ destroyed }) => destroyed)).toEqual([true, false]);
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
  });

  it('ends no stranger for the sake of another while its answer is being made', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, strangersPerSourceMax: 1 });
    expect(await offered(undefined, door)).toBe('stranger');
    const [hold] = door.holds;
    if (hold === undefined) throw new Error('no stranger');
    const [release, again] = [hold(), hold()];
    expect(await offered(undefined, door)).toBe('stranger');
    release();
    expect(await offered(undefined, door)).toBe('too-many-strangers');
    again();
    await new Promise(setImmediate);
    expect(door.sockets.map(({ destroyed }) => destroyed)).toEqual([false, true, true]);
  });

  it('ends a handshake that is not over in time, though a byte of it comes now and then', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, handshakeMs: 200 });
    // A record of TLS that is long in coming.
    const hello = Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0]), Buffer.alloc(512)]);
    const verdict = door.next();
    const slow = connectTcp(door.port, '127.0.0.1');
    let sent = 0;
    const drip = setInterval(() => {
      slow.write(hello.subarray(sent, sent + 1));
      sent += 1;
    }, 5);
    onTestFinished(() => {
      clearInterval(drip);
      slow.destroy();
    });
    const closed = closing(slow.resume());
    expect(await verdict).toBe('handshake');
    expect(door.reasons).toEqual([expect.stringContaining('timeout')]);
    await closed;
    expect(sent).toBeLessThan(hello.length);
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
  });

  it('bounds how long a stranger is in', async () => {
    const door = await openDoor(new MeshTls(material(server), now), { ...LISTENER_LIMITS, strangerMs: 20 });
    const seen = door.next();
    const stranger = connect({ host: '127.0.0.1', port: door.port, ALPNProtocols: ['h2'], ...careless(undefined) });
    stranger.on('error', () => {}).resume();
    await closing(stranger);
    expect(await seen).toBe('stranger');
  });
});

describe('a node that dials', () => {
  const dialling = (port: number, changed: Partial<MeshTlsMaterial> = {}, nodeId?: string) =>
    dial(port, new MeshTls(material(client, changed), now).dialOptions(nodeId));

  it('refuses a server of another CA, before it says anything', async () => {
    const other = await testAuthority(NOW);
    const theirs = { ...material(await testNode(other, NODE_A, NOW)), roots: [rootOf(other), rootOf(authority)] };
    const door = await openDoor(new MeshTls(theirs, now));
    expect(await dialling(door.port)).toBe('wrong-ca');
  });

  it('refuses a server of another mesh whose root it trusts', async () => {
    const other = await testAuthority(NOW, '2');
    const theirs = { ...material(await testNode(other, NODE_A, NOW)), roots: [rootOf(other), rootOf(authority)] };
    const door = await openDoor(new MeshTls(theirs, now));
    expect(await dialling(door.port, { roots: [rootOf(other), rootOf(authority)] })).toBe('other-mesh');
  });

  it("refuses an operator's certificate where a node has to answer", async () => {
    const impostor = await openDoor(new MeshTls(material(await testClient(authority, 'alice', NOW)), now));
    expect(await dial(impostor.port, new MeshTls(material(client), now).dialOptions())).toBe('unsuitable');
  });

  it('refuses a server that is expired, not valid yet, revoked, or another than was called', async () => {
    const expired = await openDoor(new MeshTls(material(await testNode(authority, NODE_A, NOW - 31 * DAY)), now));
    expect(await dialling(expired.port)).toBe('expired');
    const early = await openDoor(new MeshTls(material(await testNode(authority, NODE_A, NOW + DAY)), now));
    expect(await dialling(early.port)).toBe('not-yet-valid');
    const door = await ownDoor();
    expect(await dialling(door.port, { revocations: revoked(nodeSerial(NODE_A)) })).toBe('revoked');
    expect(await dialling(door.port, {}, NODE_B)).toBe('other-node');
  });

  it('refuses a server of TLS 1.2', async () => {
    const { privateKeyPem: key, certificatePem: cert } = server;
    const old = createServer({ key, cert, maxVersion: 'TLSv1.2' });
    old.on('tlsClientError', () => {});
    expect(await dialling(await listening(old))).toMatch(/PROTOCOL_VERSION|ECONNRESET/);
  });
});

describe('hot reload', () => {
  it('revokes at once, also connections that are open', async () => {
    const door = await ownDoor();
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
    const [open] = door.sockets;
    expect(open && door.mesh.judge(open, 'client').kind).toBe('peer');
    door.mesh.update(material(server, { revocations: revoked(nodeSerial(NODE_B)) }));
    expect(open && door.mesh.judge(open, 'client')).toMatchObject({ refusal: 'revoked' });
    expect(await offered(client, door)).toBe('revoked');
  });

  it('changes the certificate and the roots while it listens: rotation from one root to another', async () => {
    const door = await ownDoor();
    const next = await testAuthority(NOW - DAY);
    const roots = [rootOf(authority), rootOf(next)];
    const moved = await testNode(next, NODE_B, NOW);
    expect(await offered(moved, door)).toBe('wrong-ca');
    // Both are trusted: nodes may have certificates of either.
    door.mesh.update(material(server, { roots }));
    expect(await offered(moved, door)).toMatchObject({ nodeId: NODE_B });
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
    const open = door.sockets.at(-1);
    // The first is retired, and the listener itself has a certificate of the second.
    const retired = [{ ...rootOf(authority), retiredAtMs: NOW }, rootOf(next)];
    door.mesh.update(material(await testNode(next, NODE_A, NOW), { roots: retired }));
    expect(await offered(client, door)).toBe('wrong-ca');
    expect(await dial(door.port, new MeshTls(material(moved, { roots: retired }), now).dialOptions(NODE_A))).toBe(
      'hello',
    );
    expect(open && door.mesh.judge(open, 'client')).toMatchObject({ refusal: 'wrong-ca' });
  });

  it('keeps what was in force when the new is of no use', async () => {
    const door = await ownDoor();
    const mixed = { privateKeyPem: client.privateKeyPem, certificatePem: server.certificatePem };
    expect(() => door.mesh.update(material(mixed))).toThrow(expect.objectContaining({ code: 'invalid' }));
    expect(() => door.mesh.update(material(server, { roots: [] }))).toThrow(
      expect.objectContaining({ code: 'invalid' }),
    );
    expect(await offered(client, door)).toMatchObject({ nodeId: NODE_B });
  });
});

describe('a joiner', () => {
  const target = (port: number, rootFingerprint: string) => ({
    host: '127.0.0.1',
    port,
    protocols: ['h2'],
    rootFingerprint,
    timeoutMs: 5_000,
  });

  it("gets the root that its token names, and then trusts the token's home alone", async () => {
    const door = await ownDoor();
    const { fingerprint } = authority.certificate;
    const { meshId, meshName, root } = await fetchPinnedRoot(target(door.port, fingerprint), NOW);
    expect({ meshId, meshName }).toEqual({ meshId: authority.mesh.id, meshName: 'test-mesh' });
    expect(root.certificate.fingerprint).toBe(fingerprint);
    expect(await dial(door.port, joinOptions(meshId, [root], NODE_A, now))).toBe('hello');
    expect(door.seen.every((what) => what === 'stranger')).toBe(true);
    expect(await dial(door.port, joinOptions(meshId, [root], NODE_B, now))).toBe('other-node');
  });

  it('goes no further with a server of another CA', async () => {
    const door = await ownDoor();
    const { certificate } = await testAuthority(NOW);
    await expect(fetchPinnedRoot(target(door.port, certificate.fingerprint), NOW)).rejects.toMatchObject({
      code: 'wrong-ca',
    });
  });

  it('is not taken in by a server that shows the root, which anybody can, but was not signed by it', async () => {
    const forger = await testAuthority(NOW);
    const leaf = await testNode(forger, NODE_A, NOW);
    const shown = `${leaf.certificatePem.split(/(?<=-----END CERTIFICATE-----\n)/)[0]}${authority.pem}`;
    const fake = createServer({ ...PROTOCOL, key: leaf.privateKeyPem, cert: shown });
    const said: string[] = [];
    fake.on('secureConnection', (socket) => socket.on('error', () => {}).on('data', (data) => said.push(`${data}`)));
    fake.on('tlsClientError', () => {});
    const port = await listening(fake);
    const pinned = await fetchPinnedRoot(target(port, authority.certificate.fingerprint), NOW).catch(
      (error: { code: string }) => error,
    );
    if ('root' in pinned) {
      expect(await dial(port, joinOptions(pinned.meshId, pinned.roots, NODE_A, now))).toBe('wrong-ca');
    } else {
      expect(pinned.code).toBe('wrong-ca');
    }
    expect(said).toEqual([]);
  });

  it('says when nobody answers, and when it is no TLS', async () => {
    const { fingerprint } = authority.certificate;
    await expect(fetchPinnedRoot(target(1, fingerprint), NOW)).rejects.toMatchObject({ code: 'io' });
    const door = await ownDoor();
    const pending = fetchPinnedRoot({ ...target(door.port, fingerprint), timeoutMs: 0 }, NOW);
    await expect(pending).rejects.toThrow(/did not answer within 0 ms/);
  });
});
