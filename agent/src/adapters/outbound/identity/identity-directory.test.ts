// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { firstKeyring, installKey } from '../../../domain/identity/gossip-keyring.js';
import type { CertificateAuthority, IdentityErrorCode, NodeCredentials } from '../../../ports/identity.js';
import { openIdentityDirectory } from './identity-directory.js';
import { newGossipKey } from './new-ids.js';
import { writeRecord } from './record-file.js';
import { NODE_A, NODE_B, testDirectory } from './testing/directory.js';
import { rootOf, testAuthority, testNode } from './testing/mesh.js';

const NOW = Date.UTC(2026, 5, 1);
let authority: CertificateAuthority;
let node: NodeCredentials;
let other: NodeCredentials;

beforeAll(async () => {
  authority = await testAuthority(NOW);
  const { privateKeyPem, certificatePem } = await testNode(authority, NODE_A, NOW);
  node = { privateKeyPem, certificatePem };
  other = await testNode(authority, NODE_B, NOW);
});

function failsWith(code: IdentityErrorCode, message: RegExp = /./) {
  return expect.objectContaining({ name: 'IdentityError', code, message: expect.stringMatching(message) });
}

describe('the identity directory', () => {
  it('is empty at first', () => {
    const store = openIdentityDirectory(join(testDirectory(), 'a', 'identity'));
    expect(store.loadCredentials()).toBeUndefined();
    expect(store.loadRoots()).toBeUndefined();
    expect(store.loadRevocationLists()).toBeUndefined();
    expect(store.loadKeyring()).toBeUndefined();
  });

  it('gives back what was saved, after a restart', async () => {
    const directory = testDirectory();
    const first = openIdentityDirectory(directory);
    const roots = [rootOf(authority), { ...rootOf(await testAuthority(NOW)), retiredAtMs: NOW + 5 }];
    const installed = installKey(firstKeyring(newGossipKey()), newGossipKey());
    const keyring = installed.kind === 'keyring' ? installed.keyring : undefined;
    if (keyring === undefined) throw new Error('no keyring');
    const { pem } = await authority.signRevocations(new Map(), 1n, NOW);
    first.saveCredentials(node);
    first.saveRoots(roots);
    first.saveRevocationLists([pem, pem]);
    first.saveKeyring(keyring);
    const store = openIdentityDirectory(directory);
    expect(store.loadCredentials()).toEqual(node);
    expect(store.loadRoots()).toEqual(roots);
    expect(store.loadRevocationLists()).toEqual([pem, pem]);
    expect(store.loadKeyring()?.primary).toBe(keyring.primary);
    expect(store.loadKeyring()?.keys.map(({ key }) => [...key])).toEqual(keyring.keys.map(({ key }) => [...key]));
  });

  it('is for its owner alone, whatever it was before', () => {
    const directory = join(testDirectory(), 'identity');
    mkdirSync(directory, { mode: 0o755 });
    const store = openIdentityDirectory(directory);
    // A crash has left a file that it was about to write.
    writeFileSync(join(directory, 'node.new'), 'half', { mode: 0o644 });
    store.saveCredentials(node);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, 'node')).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['node']);
    expect(store.loadCredentials()).toEqual(node);
  });

  it('keeps what was there when a new one could not be written', () => {
    const directory = testDirectory();
    const store = openIdentityDirectory(directory);
    store.saveCredentials(node);
    mkdirSync(join(directory, 'node.new', 'x'), { recursive: true });
    expect(() => store.saveCredentials(other)).toThrow(failsWith('io', /can't be written/));
    expect(store.loadCredentials()).toEqual(node);
  });

  it("refuses a key that is not its certificate's, when saving and when loading", () => {
    const directory = testDirectory();
    const store = openIdentityDirectory(directory);
    const mixed = { privateKeyPem: other.privateKeyPem, certificatePem: node.certificatePem };
    expect(() => store.saveCredentials(mixed)).toThrow(failsWith('invalid', /not that of its certificate/));
    writeRecord(join(directory, 'node'), 'node', mixed.privateKeyPem + mixed.certificatePem);
    expect(() => store.loadCredentials()).toThrow(failsWith('damaged', /not that of its certificate/));
  });

  it('says that a file is damaged, and shows nothing of it', () => {
    const directory = testDirectory();
    const store = openIdentityDirectory(directory);
    store.saveCredentials(node);
    const path = join(directory, 'node');
    const good = readFileSync(path);
    const key = node.privateKeyPem.split('\n')[1] ?? '';
    for (let at = 0; at < good.length; at += 61) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x02;
      writeFileSync(path, bad);
      try {
        store.loadCredentials();
        expect.unreachable();
      } catch (error) {
        expect(error).toEqual(failsWith((error as { code: IdentityErrorCode }).code, /damaged|newer version/));
        expect(String(error)).not.toContain(key.slice(0, 16));
      }
    }
    writeFileSync(path, Buffer.alloc(70_000));
    expect(() => store.loadCredentials()).toThrow(failsWith('damaged', /at most 65536/));
  });

  it.each([
    ['roots', 'loadRoots', '{}'],
    ['roots', 'loadRoots', '[null]'],
    ['roots', 'loadRoots', '[{"pem":"x","signsFromMs":1}]'],
    ['roots', 'loadRoots', 'not json'],
    ['gossip', 'loadKeyring', '{"primary":"x","keys":["AAAA"]}'],
    ['gossip', 'loadKeyring', '{"primary":"x"}'],
    ['gossip', 'loadKeyring', 'null'],
  ] as const)('refuses %s of another form by %s: %s', (name, load, body) => {
    const directory = testDirectory();
    const store = openIdentityDirectory(directory);
    writeRecord(join(directory, name), name, body);
    expect(() => store[load]()).toThrow(failsWith('damaged', /expected form/));
  });

  it('refuses a file that others may read, and one of another kind', () => {
    const directory = testDirectory();
    const store = openIdentityDirectory(directory);
    store.saveCredentials(node);
    chmodSync(join(directory, 'node'), 0o644);
    expect(() => store.loadCredentials()).toThrow(failsWith('permissions', /chmod 600/));
    writeRecord(join(directory, 'gossip'), 'roots', '[]');
    expect(() => store.loadKeyring()).toThrow(failsWith('damaged', /first line/));
    const short = { primary: 'x', keys: [{ id: 'x', key: new Uint8Array(3) }] };
    expect(() => store.saveKeyring(short)).toThrow(failsWith('invalid'));
  });
});
