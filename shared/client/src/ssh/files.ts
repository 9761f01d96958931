// SPDX-License-Identifier: Apache-2.0
/** OpenSSH's files of this machine: read as far as they are long at most, and only where nobody else can have written them. */
import {
  appendFileSync,
  closeSync,
  constants,
  fstatSync,
  globSync,
  mkdirSync,
  openSync,
  readSync,
  type Stats,
} from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { dirname } from 'node:path';
import type { ConfigFiles, ConfigPlaces } from './config.js';
import type { KnownHostsFile } from './known-hosts.js';
import { sshError } from './ssh-error.js';

const CONFIG_MAX_BYTES = 1 << 20;
const KNOWN_HOSTS_MAX_BYTES = 16 << 20;
const KEY_MAX_BYTES = 65_536;
const MATCHES_MAX = 256;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/** Where files are, and who runs this. */
export interface Surroundings extends ConfigPlaces {
  /** SSH_AUTH_SOCK and what else files name with a "$". */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function surroundings(environment: Readonly<Record<string, string | undefined>>): Surroundings {
  return { home: homedir(), systemDirectory: '/etc/ssh', localUser: localUser(environment), environment };
}

/** A configuration that others can write could lead anywhere: refused, as OpenSSH does. */
export const configFiles: ConfigFiles = {
  read(path) {
    return readText(path, CONFIG_MAX_BYTES, ({ uid, mode }) => {
      if (uid !== 0 && uid !== process.geteuid?.()) throw sshError('failed', `${path} belongs to another user`);
      if ((mode & OTHERS_WRITE) !== 0) throw sshError('failed', `others can write ${path}: chmod go-w ${path}`);
    });
  },
  matching(pattern) {
    try {
      return globSync(pattern).sort().slice(0, MATCHES_MAX);
    } catch (error) {
      throw sshError('failed', `${pattern} can't be looked for: ${(error as Error).message}`, error);
    }
  },
};

/** Those that are there. */
export function readKnownHosts(paths: readonly string[]): KnownHostsFile[] {
  return paths.flatMap((path) => {
    const text = readText(path, KNOWN_HOSTS_MAX_BYTES);
    return text === undefined ? [] : [{ path, text }];
  });
}

/** With its directory, where that is not there. Fails as AgentError. */
export function appendKnownHost(path: string, line: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const before = readText(path, KNOWN_HOSTS_MAX_BYTES) ?? '';
    const start = before === '' || before.endsWith('\n') ? '' : '\n';
    appendFileSync(path, `${start}${line}`, { mode: 0o600 });
  } catch (error) {
    throw sshError('failed', `the key can't be written to ${path}: ${(error as Error).message}`, error);
  }
}

/** undefined: there is none. Fails as AgentError where others can read it. */
export function readPrivateKey(path: string): string | undefined {
  return readText(path, KEY_MAX_BYTES, ({ mode }) => {
    if ((mode & OTHERS) !== 0) throw sshError('failed', `others can read ${path}: chmod 600 ${path}`);
  });
}

export function readPublicKey(path: string): string | undefined {
  return readText(path, KEY_MAX_BYTES);
}

/** undefined: there is none, or what is there is no file, as /dev/null. */
function readText(path: string, maxBytes: number, check: (stat: Stats) => void = () => undefined): string | undefined {
  let file: number;
  try {
    // A pipe would be waited for.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw sshError('failed', `${path} can't be read: ${message}`, error);
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) return undefined;
    check(stat);
    if (stat.size > maxBytes) throw sshError('failed', `${path} is larger than ${maxBytes} bytes`);
    const buffer = Buffer.alloc(stat.size);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) {
      got = readSync(file, buffer, length, buffer.length - length, null);
    }
    return buffer.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

function localUser(environment: Readonly<Record<string, string | undefined>>): string {
  try {
    return userInfo().username;
  } catch {
    const { USER: user = '' } = environment;
    return user;
  }
}
