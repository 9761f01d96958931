// SPDX-License-Identifier: Apache-2.0
/** Private keys in files, and the public part of one that is still encrypted. */
import ssh2, { type ParsedKey } from 'ssh2';
import { readPrivateKey, readPublicKey } from './files.js';
import type { Questions } from './questions.js';
import { sshError } from './ssh-error.js';

const { parseKey } = ssh2.utils;

const ATTEMPTS = 3;
/** PROTOCOL.key of OpenSSH. */
const MAGIC = Buffer.from('openssh-key-v1\0');

/**
 * Keys that were decrypted, so that a connection that is made again asks nobody. They are in memory as long as this is,
 * and nowhere else.
 */
export class DecryptedKeys {
  private readonly keys = new Map<string, { readonly text: string; readonly key: ParsedKey }>();

  /**
   * undefined: it is gone, or nobody knows its passphrase. Fails as AgentError where others can read it, or it is none.
   */
  async of(path: string, ask: Questions['passphrase']): Promise<ParsedKey | undefined> {
    const text = readPrivateKey(path);
    if (text === undefined) return undefined;
    const before = this.keys.get(path);
    if (before?.text === text) return before.key;
    const plain = parsed(text);
    if (plain !== undefined) return plain;
    if (!isEncrypted(text)) throw sshError('failed', `${path} has no private key that can be read here`);
    for (let attempt = 0; attempt < ATTEMPTS && ask !== undefined; attempt++) {
      const passphrase = await ask({ path, again: attempt > 0 });
      if (passphrase === undefined) return undefined;
      const key = parsed(text, passphrase);
      if (key === undefined) continue;
      this.keys.set(path, { text, key });
      return key;
    }
    return undefined;
  }

  clear(): void {
    this.keys.clear();
  }
}

/**
 * Of the key in a file: from FILE.pub, from the file where that is a public key itself, or from the private key, which has it
 * unencrypted in OpenSSH's format. undefined: there is no file. Fails as AgentError.
 */
export function publicKeyAt(path: string): ParsedKey | undefined {
  const beside = readPublicKey(`${path}.pub`);
  const text = readPublicKey(path);
  const key = publicPart(beside) ?? publicPart(text);
  if (key !== undefined || text === undefined) return key;
  const fix = isEncrypted(text) ? `make ${path}.pub by ssh-keygen -y -f ${path} > ${path}.pub` : 'is it a key?';
  throw sshError('failed', `the public key of ${path} can't be read: ${fix}`);
}

/** ssh2's own comparison takes the private parts in, where there are any. */
export function samePublicKey(one: ParsedKey, other: ParsedKey): boolean {
  return one.getPublicSSH().equals(other.getPublicSSH());
}

function publicPart(text: string | undefined): ParsedKey | undefined {
  if (text === undefined) return undefined;
  return single(parseKey(clearPublicKey(text) ?? text));
}

/** Of a private key in OpenSSH's format, encrypted or not. */
function clearPublicKey(text: string): Buffer | undefined {
  const base64 = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]*?)-----END/.exec(text)?.[1];
  if (base64 === undefined) return undefined;
  const bytes = Buffer.from(base64, 'base64');
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  let at = MAGIC.length;
  const next = (): Buffer | undefined => {
    if (bytes.length < at + 4) return undefined;
    const field = bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at));
    at += 4 + bytes.readUInt32BE(at);
    return at <= bytes.length ? field : undefined;
  };
  // Cipher, key derivation and its options; then how many keys there are, which is one.
  for (let field = 0; field < 3; field++) if (next() === undefined) return undefined;
  at += 4;
  return next();
}

function isEncrypted(text: string): boolean {
  if (/^-----BEGIN ENCRYPTED|^Proc-Type: 4,ENCRYPTED|^Encryption: (?!none)/m.test(text)) return true;
  return clearPublicKey(text) !== undefined;
}

function parsed(text: string, passphrase?: string): ParsedKey | undefined {
  const key = single(parseKey(text, passphrase));
  return key?.isPrivateKey() ? key : undefined;
}

/** ssh2 gives some formats as a list of one. What it says of one that it can't read is not passed on: it could quote from it. */
function single(key: ParsedKey | Error | readonly ParsedKey[]): ParsedKey | undefined {
  if (key instanceof Error) return undefined;
  return Array.isArray(key) ? key[0] : (key as ParsedKey);
}
