// SPDX-License-Identifier: Apache-2.0
/**
 * Keys of hosts, as OpenSSH's known_hosts files have them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Pure.
 *
 *   [@marker] HOSTS TYPE KEY [COMMENT]
 *
 * HOSTS are patterns with commas between them, or one name hashed: |1|SALT|HMAC-SHA1(SALT, NAME), both in base64.
 */
import { createHash, createHmac } from 'node:crypto';
import { matchesPatterns } from './pattern.js';

export interface KnownHostsFile {
  readonly path: string;
  readonly text: string;
}

/** A line about a host. */
export interface KnownKey {
  readonly marker: '' | '@revoked' | '@cert-authority';
  readonly type: string;
  /** As it goes over the wire (RFC 4253, 6.6). */
  readonly key: Buffer;
  readonly path: string;
  readonly line: number;
}

export type Verdict =
  | { readonly kind: 'known'; readonly by: KnownKey }
  /** Nothing is known; authorities: lines that name a CA for it, which is not followed. */
  | { readonly kind: 'unknown'; readonly authorities: readonly KnownKey[] }
  /** Another key is known: of the same type, or only of others. */
  | { readonly kind: 'changed'; readonly known: readonly KnownKey[] }
  | { readonly kind: 'revoked'; readonly by: KnownKey };

const PORT = 22;
/** Longer lines are none of a key. */
const LINE_MAX = 16_384;

/** How files name a host: with the port, where that is not 22. */
export function hostKeyName(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === PORT ? name : `[${name}]:${port}`;
}

/** What files say of a host by that name, in lower case. Lines that are none of a key are left out, as OpenSSH does. */
export function knownKeys(files: readonly KnownHostsFile[], name: string): KnownKey[] {
  return files.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) => {
      const entry = parsedLine(line);
      if (entry === undefined || !names(entry.hosts, name)) return [];
      const { hosts: _hosts, ...known } = entry;
      return [{ ...known, path, line: index + 1 }];
    }),
  );
}

/** Of a key that a server has shown. One that is revoked stays so, whatever else is said of it. */
export function judge(key: Buffer, known: readonly KnownKey[]): Verdict {
  const of = (marker: KnownKey['marker']): KnownKey[] => known.filter((each) => each.marker === marker);
  const revoked = of('@revoked').find((each) => each.key.equals(key));
  if (revoked !== undefined) return { kind: 'revoked', by: revoked };
  const plain = of('');
  const same = plain.find((each) => each.key.equals(key));
  if (same !== undefined) return { kind: 'known', by: same };
  // One of another type is no better than another key: who stands between could show it as well.
  if (plain.length > 0) return { kind: 'changed', known: plain };
  return { kind: 'unknown', authorities: of('@cert-authority') };
}

/** A line for a known_hosts file; salt: 20 random bytes, where the name is to be hashed. */
export function knownHostLine(name: string, key: Buffer, salt?: Buffer): string {
  const host = salt === undefined ? name : `|1|${salt.toString('base64')}|${hashed(name, salt).toString('base64')}`;
  return `${host} ${keyType(key) ?? ''} ${key.toString('base64')}\n`;
}

/** As ssh-keygen -l prints it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}

/** The first field of a public key; undefined: it has none. */
export function keyType(key: Buffer): string | undefined {
  if (key.length < 4) return undefined;
  const length = key.readUInt32BE(0);
  if (length === 0 || length > 64 || key.length < 4 + length) return undefined;
  return key.toString('latin1', 4, 4 + length);
}

interface Entry extends Pick<KnownKey, 'marker' | 'type' | 'key'> {
  readonly hosts: string;
}

function parsedLine(line: string): Entry | undefined {
  if (line.length > LINE_MAX) return undefined;
  const fields = line.trim().split(/[ \t]+/);
  const marker = fields[0]?.startsWith('@') ? fields.shift() : '';
  if (marker !== '' && marker !== '@revoked' && marker !== '@cert-authority') return undefined;
  const [hosts = '', type = '', base64 = ''] = fields;
  if (hosts === '' || hosts.startsWith('#')) return undefined;
  const key = Buffer.from(base64, 'base64');
  return type !== '' && keyType(key) === type ? { marker, hosts, type, key } : undefined;
}

function names(hosts: string, name: string): boolean {
  if (!hosts.startsWith('|')) return matchesPatterns(name, hosts.toLowerCase().split(','));
  const [, version, salt = '', hash = ''] = hosts.split('|');
  return version === '1' && hashed(name, Buffer.from(salt, 'base64')).equals(Buffer.from(hash, 'base64'));
}

function hashed(name: string, salt: Buffer): Buffer {
  return createHmac('sha1', salt).update(name).digest();
}
