// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import type { IdentityErrorCode, Protection } from '../../../ports/identity.js';
import {
  adoptAuthority,
  createAuthorityFile,
  exportAuthority,
  listAuthorityFiles,
  openAuthorityFile,
  readKeyFile,
  resealAuthorityFile,
} from './authority-file.js';
import { parseEnvelope, SCRYPT_COST, seal, unseal } from './envelope.js';
import { createNodeRequest } from './node-request.js';
import { writeRecord } from './record-file.js';
import { NODE_A, testDirectory } from './testing/directory.js';
import { LOW_COST } from './testing/mesh.js';

const NOW = Date.UTC(2026, 5, 1);
const MESH = { id: '1'.repeat(32), name: 'test-mesh' };
const passphrase: Protection = { kind: 'passphrase', passphrase: 'correct horse' };
const keyFile: Protection = { kind: 'key-file', key: new Uint8Array(32).fill(7) };

let request = '';
beforeAll(async () => {
  ({ request } = await createNodeRequest());
});

function failsWith(code: IdentityErrorCode, message: RegExp = /./) {
  return expect.objectContaining({ name: 'IdentityError', code, message: expect.stringMatching(message) });
}

async function created(protection: Protection): Promise<{ directory: string; fingerprint: string; path: string }> {
  const directory = join(testDirectory(), 'identity');
  const { certificate } = await createAuthorityFile(directory, MESH, protection, NOW, LOW_COST);
  const { fingerprint } = certificate;
  return { directory, fingerprint, path: join(directory, `authority-${fingerprint}`) };
}

describe("a CA's key on disk", () => {
  it.each([
    ['a passphrase', passphrase],
    ['a key file', keyFile],
  ])('signs again when opened by %s', async (_, protection) => {
    const { directory, fingerprint } = await created(protection);
    expect(listAuthorityFiles(directory)).toEqual([fingerprint]);
    const authority = await openAuthorityFile(directory, fingerprint, protection);
    expect(authority.mesh).toEqual(MESH);
    expect((await authority.issueNode(request, NODE_A, NO_REVOCATIONS, NOW)).certificate.issuerKeyId).toBe(
      authority.certificate.keyId,
    );
  });

  it('is for its owner alone', async () => {
    const { directory, path } = await created(passphrase);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toContain('PRIVATE');
  });

  it('says that a passphrase or a key file is wrong, and neither shows it', async () => {
    const sealed = await created(passphrase);
    const open = (protection: Protection) => openAuthorityFile(sealed.directory, sealed.fingerprint, protection);
    const wrong = { kind: 'passphrase', passphrase: 'correct house' } as const;
    const error: Error = await open(wrong).catch((reason) => reason);
    expect(error).toEqual(failsWith('wrong-passphrase', /wrong/));
    expect(error.message).not.toContain('house');
    await expect(open(keyFile)).rejects.toEqual(failsWith('wrong-key-file', /passphrase, and not/));
    const other = await created(keyFile);
    const openOther = (protection: Protection) => openAuthorityFile(other.directory, other.fingerprint, protection);
    await expect(openOther({ kind: 'key-file', key: new Uint8Array(32) })).rejects.toEqual(failsWith('wrong-key-file'));
    await expect(openOther({ kind: 'key-file', key: new Uint8Array(31) })).rejects.toEqual(failsWith('invalid'));
    await expect(openOther(passphrase)).rejects.toEqual(failsWith('wrong-passphrase', /key file, and not/));
  });

  it('says that it is damaged, wherever it is', async () => {
    const { directory, fingerprint, path } = await created(keyFile);
    const good = readFileSync(path);
    for (let at = 0; at < good.length; at += 97) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x01;
      writeFileSync(path, bad);
      const error = await openAuthorityFile(directory, fingerprint, keyFile).catch((reason) => reason);
      // Of the version in the first line one bit may be another version.
      expect(['damaged', 'invalid']).toContain(error.code);
    }
    for (const bad of ['', 'x', good.subarray(0, good.length / 2), Buffer.concat([good, good])]) {
      writeFileSync(path, bad);
      await expect(openAuthorityFile(directory, fingerprint, keyFile)).rejects.toEqual(failsWith('damaged', /restore/));
    }
  });

  it('is not mistaken when whoever wrote it also wrote the checksum', async () => {
    const { directory, fingerprint, path } = await created(keyFile);
    const body = JSON.parse(readFileSync(path, 'utf8').split('\n').slice(1).join('\n'));
    const rewritten = async (change: (sealed: typeof body) => void): Promise<unknown> => {
      const copy = structuredClone(body);
      change(copy);
      writeRecord(path, 'authority', JSON.stringify(copy));
      return openAuthorityFile(directory, fingerprint, keyFile).catch((reason) => reason);
    };
    const flipped = Buffer.from(body.sealedKey.secret.text, 'base64');
    flipped[3] = (flipped[3] ?? 0) ^ 1;
    const secret = { ...body.sealedKey.secret, text: flipped.toString('base64') };
    expect(await rewritten((sealed) => (sealed.sealedKey.secret = secret))).toEqual(failsWith('damaged'));
    expect(await rewritten((sealed) => (sealed.sealedKey.secret.tag = 'AAAA'))).toEqual(failsWith('damaged'));
    expect(await rewritten((sealed) => (sealed.sealedKey.key.nonce = ''))).toEqual(failsWith('wrong-key-file'));
    expect(await rewritten((sealed) => (sealed.certificate = 'x'))).toEqual(failsWith('damaged'));
    expect(await rewritten((sealed) => delete sealed.sealedKey)).toEqual(failsWith('damaged'));
    const other = await created(keyFile);
    const otherBody = JSON.parse(readFileSync(other.path, 'utf8').split('\n').slice(1).join('\n'));
    expect(await rewritten((sealed) => (sealed.certificate = otherBody.certificate))).toEqual(failsWith('damaged'));
    expect(await rewritten((sealed) => (sealed.sealedKey = otherBody.sealedKey))).toEqual(failsWith('wrong-key-file'));
  });

  it('is not used when others can read it, is missing, or has another name', async () => {
    const { directory, fingerprint, path } = await created(keyFile);
    chmodSync(path, 0o640);
    await expect(openAuthorityFile(directory, fingerprint, keyFile)).rejects.toEqual(failsWith('permissions', /640/));
    const none = '0'.repeat(64);
    await expect(openAuthorityFile(directory, none, keyFile)).rejects.toEqual(failsWith('missing'));
    await expect(openAuthorityFile(directory, '../../x', keyFile)).rejects.toEqual(failsWith('invalid'));
    expect(listAuthorityFiles(join(directory, 'none'))).toEqual([]);
  });

  it('gets another passphrase, and the old one is of no use then', async () => {
    const { directory, fingerprint } = await created(passphrase);
    await resealAuthorityFile(directory, fingerprint, passphrase, keyFile, LOW_COST);
    await openAuthorityFile(directory, fingerprint, keyFile);
    await expect(openAuthorityFile(directory, fingerprint, passphrase)).rejects.toEqual(failsWith('wrong-passphrase'));
  });

  it('is handed to another node sealed, which keeps it once it could open it', async () => {
    const { directory, fingerprint } = await created(passphrase);
    const text = exportAuthority(directory, fingerprint);
    const there = join(testDirectory(), 'identity');
    await expect(adoptAuthority(there, text, keyFile)).rejects.toEqual(failsWith('wrong-key-file'));
    await expect(adoptAuthority(there, '{}', passphrase)).rejects.toEqual(failsWith('invalid'));
    expect(listAuthorityFiles(there)).toEqual([]);
    await adoptAuthority(there, text, passphrase);
    expect((await openAuthorityFile(there, fingerprint, passphrase)).certificate.fingerprint).toBe(fingerprint);
    expect(() => exportAuthority(there, '0'.repeat(64))).toThrow(failsWith('missing'));
  });
});

describe('a key file', () => {
  it('is read when it is private', () => {
    const path = join(testDirectory(), 'key');
    expect(() => readKeyFile(path)).toThrow(failsWith('missing'));
    writeFileSync(path, new Uint8Array(64).fill(1), { mode: 0o600 });
    expect(readKeyFile(path)).toEqual({ kind: 'key-file', key: Buffer.alloc(64, 1) });
    chmodSync(path, 0o604);
    expect(() => readKeyFile(path)).toThrow(failsWith('permissions'));
  });
});

describe('an envelope', () => {
  it('opens for what it was sealed for, and costs what production asks by default', async () => {
    const secret = new TextEncoder().encode('secret');
    const envelope = await seal(secret, passphrase, 'this', LOW_COST);
    expect(Buffer.from(await unseal(envelope, passphrase, 'this')).toString()).toBe('secret');
    await expect(unseal(envelope, passphrase, 'that')).rejects.toEqual(failsWith('wrong-passphrase'));
    await expect(seal(secret, { kind: 'passphrase', passphrase: '' }, 'this')).rejects.toEqual(failsWith('invalid'));
    expect(SCRYPT_COST).toEqual({ N: 131_072, r: 8, p: 1 });
  });

  it('takes a passphrase in either form of Unicode', async () => {
    const envelope = await seal(Uint8Array.of(1), { kind: 'passphrase', passphrase: 'e\u0301' }, 'x', LOW_COST);
    expect(await unseal(envelope, { kind: 'passphrase', passphrase: '\u00e9' }, 'x')).toEqual(Buffer.from([1]));
  });

  it.each([
    ['memory without end', { N: 2 ** 24, r: 8, p: 1 }],
    ['time without end', { N: 2 ** 10, r: 8, p: 1_000 }],
    ['no power of two', { N: 1_000, r: 8, p: 1 }],
    ['no numbers', { N: '1024', r: 8, p: 1 }],
    ['zero', { N: 1024, r: 0, p: 1 }],
  ])('is refused when it asks for %s', (_, cost) => {
    const sealed = { nonce: '', text: '', tag: '' };
    const derivation = { kind: 'scrypt', salt: '' };
    expect(
      parseEnvelope({ derivation: { ...derivation, N: 1024, r: 8, p: 1 }, key: sealed, secret: sealed }),
    ).toBeDefined();
    expect(parseEnvelope({ derivation: { ...derivation, ...cost }, key: sealed, secret: sealed })).toBeUndefined();
  });
});
