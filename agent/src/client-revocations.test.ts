// SPDX-License-Identifier: Apache-2.0
/** What an operator's machine knows of removed nodes: real lists of a real CA, over the real API. */
import { X509Certificate } from 'node:crypto';
import { createOfflineRoot, revokeIntermediate, signIntermediate } from '@marcher/ca/offline-root';
import {
  fetchPinnedRoot,
  hearRevocations,
  type KnownRevocations,
  knownRevocations,
  parseFingerprint,
} from '@marcher/client';
import { readList } from '@marcher/client/revocation-list';
import { RevocationsFile } from '@marcher/client/revocations-file';
import { beforeAll, expect, test } from 'vitest';
import { type RemoteApi, remoteApi, TOKEN } from './adapters/inbound/grpc/testing/remote.js';
import { openAuthority } from './adapters/outbound/identity/authority.js';
import { createIntermediateRequest } from './adapters/outbound/identity/intermediate.js';
import { NODE_A, NODE_B, testDirectory } from './adapters/outbound/identity/testing/directory.js';
import { testAuthority, testNode } from './adapters/outbound/identity/testing/mesh.js';
import { NO_REVOCATIONS, nextCrlNumber, type Revocations, revoke } from './domain/identity/revocation.js';
import type { CertificateAuthority } from './ports/identity.js';

const NOW = Date.now();
const MINUTE = 60_000;
const CALL = { timeoutMs: 5_000 };
let authority: CertificateAuthority;
let twin: CertificateAuthority;
let roots: X509Certificate[];

beforeAll(async () => {
  [authority, twin] = await Promise.all([testAuthority(NOW), testAuthority(NOW)]);
  roots = [new X509Certificate(authority.pem)];
});

function removed(...nodes: string[]): Revocations {
  return nodes.reduce<Revocations>((all, nodeId) => {
    const verdict = revoke(all, { nodeId }, 5, NOW);
    if (verdict.kind !== 'revoked') throw new Error(verdict.reason);
    return verdict.revocations;
  }, NO_REVOCATIONS);
}

/** Signed by node A, at that time. */
async function listOf(nodes: string[], signedMs = NOW, by = authority): Promise<string> {
  const number = nextCrlNumber(0n, signedMs, NODE_A);
  return (await by.signRevocations(removed(...nodes), number, signedMs)).pem;
}

async function status(api: RemoteApi, revocations: readonly KnownRevocations[]): Promise<string> {
  const client = api.client({ token: TOKEN, revocations });
  try {
    await client.node.status({}, CALL);
    return 'served';
  } catch (error) {
    return (error as Error).message;
  } finally {
    client.close();
  }
}

test('a node that was removed is refused from the first list on, whatever it says itself', async () => {
  const [a, b] = await Promise.all(
    [NODE_A, NODE_B].map(async (id) => await remoteApi(authority, await testNode(authority, id, NOW))),
  );
  if (a === undefined || b === undefined) throw new Error('two were made');
  const store = new RevocationsFile(testDirectory());
  const hear = async (api: RemoteApi) => {
    const client = api.client({ token: TOKEN });
    return await hearRevocations(client, store, roots, knownRevocations(store, roots), CALL, Date.now);
  };
  // First contact: nothing is known.
  expect(await status(b, knownRevocations(store, roots))).toBe('served');
  a.mesh.lists = [await listOf([NODE_B]), await listOf([NODE_A], NOW, twin)];
  expect((await hear(a)).news).toBe(true);
  expect((await hear(a)).news).toBe(false);
  // Of another CA of the same name nothing is believed.
  expect(await status(a, knownRevocations(store, roots))).toBe('served');
  const refusal = `node ${NODE_B} was removed from its mesh`;
  expect(await status(b, knownRevocations(store, roots))).toContain(refusal);
  for (const lists of [[], [await listOf([], NOW - MINUTE)], ['nonsense']]) {
    b.mesh.lists = lists;
    expect((await hear(b)).news).toBe(false);
    expect(await status(b, knownRevocations(store, roots))).toContain(refusal);
  }
  expect(b.authenticator.asked).toHaveLength(4);
});

test('a root is taken by its fingerprint alone, as OpenSSL writes it', async () => {
  const node = await testNode(authority, NODE_A, NOW);
  const api = await remoteApi(authority, node);
  const target = { kind: 'tls', host: '127.0.0.1', port: api.port } as const;
  const [root, other] = [authority, twin].map(({ pem }) => new X509Certificate(pem).fingerprint256);
  const pin = async (text = ''): Promise<string> =>
    await fetchPinnedRoot(target, parseFingerprint(text) ?? 'none', 5_000);
  expect(new X509Certificate(await pin(root)).fingerprint256).toBe(root);
  await expect(pin(other)).rejects.toMatchObject({ code: 'untrusted' });
  // Of the node's own certificate: that is no root.
  const [leaf] = node.certificatePem.split(/(?<=-----END CERTIFICATE-----)/);
  await expect(pin(new X509Certificate(leaf ?? '').fingerprint256)).rejects.toMatchObject({ code: 'untrusted' });
  expect(api.authenticator.asked).toEqual([]);
  for (const text of ['', 'ab', `${root}0`]) expect(parseFingerprint(text)).toBeUndefined();
});

test('an intermediate stands for its root, and is refused once the root has revoked it', async () => {
  const offline = await createOfflineRoot(authority.mesh, NOW);
  const { privateKey, request } = await createIntermediateRequest(authority.mesh);
  const pemOf = (der: Uint8Array): string => new X509Certificate(der).toString();
  const [ca, pem] = [pemOf(offline.certificate), pemOf(await signIntermediate(offline, request, 365, NOW))];
  const below = await openAuthority({ pem, privateKey, issuers: ca });
  const api = await remoteApi(below, await testNode(below, NODE_A, NOW));
  const asked = async (given: string, revocations: readonly KnownRevocations[] = []): Promise<string> => {
    const client = api.client({ token: TOKEN, ca: given, revocations });
    return await client.node.status({}, CALL).then(
      () => 'served',
      (error: Error) => error.message,
    );
  };
  expect(await asked(ca)).toBe('served');
  expect(await asked(authority.pem)).toContain('was not signed by a CA that this program was given');
  const target = { kind: 'tls', host: '127.0.0.1', port: api.port } as const;
  const pin = (certificate: X509Certificate) =>
    fetchPinnedRoot(target, parseFingerprint(certificate.fingerprint256) ?? '', 5_000);
  expect(await pin(new X509Certificate(ca))).toBe(ca);
  await expect(pin(new X509Certificate(pem))).rejects.toMatchObject({ code: 'untrusted' });

  const [store, offlineRoots] = [new RevocationsFile(testDirectory()), [new X509Certificate(ca)]];
  const hear = async (lists: string[], intermediates: string[]) => {
    [api.mesh.lists, api.mesh.between] = [lists, intermediates];
    const client = api.client({ token: TOKEN, ca });
    const before = knownRevocations(store, offlineRoots);
    return (await hearRevocations(client, store, offlineRoots, before, CALL, Date.now)).news;
  };
  // What an intermediate has signed counts by its root; what another has signed does not.
  expect(await hear([await listOf([NODE_B], NOW, below)], ['nonsense', authority.pem])).toBe(false);
  expect(await hear([await listOf([NODE_A], NOW)], [authority.pem])).toBe(false);
  expect(await hear([await listOf([NODE_B], NOW + 1_000, below)], [pem])).toBe(true);
  expect(await asked(ca, knownRevocations(store, offlineRoots))).toBe('served');
  const { serialNumber } = new X509Certificate(pem);
  expect(await hear([await revokeIntermediate(offline, serialNumber.toLowerCase(), NOW)], [])).toBe(true);
  expect(await asked(ca, knownRevocations(store, offlineRoots))).toContain('or its certificate revoked');
});

test('a list counts as a root has signed it, and from this time', async () => {
  const pem = await listOf([NODE_B]);
  const read = await readList(pem, roots, NOW);
  expect(read).toMatchObject({ signer: NODE_A, signedMs: Math.floor(NOW / 1_000) * 1_000 });
  expect(read?.serials).toEqual([Buffer.from('marcher-node').toString('hex') + NODE_B]);
  expect(await readList(pem, [new X509Certificate(twin.pem)], NOW)).toBeUndefined();
  const der = Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64');
  der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1;
  const forged = `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`;
  expect(await readList(forged, roots, NOW)).toBeUndefined();
  expect(await readList(await listOf([], NOW + 11 * MINUTE), roots, NOW)).toBeUndefined();
  expect(await readList(pem + ' '.repeat(1_000_000), roots, NOW)).toBeUndefined();
});
