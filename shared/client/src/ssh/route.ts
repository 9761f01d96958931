// SPDX-License-Identifier: Apache-2.0
/** From a target to the servers on the way to it, each with what files say of it. Pure. */
import type { SshTarget } from '../target.js';
import { type ConfigFiles, type HostSettings, settingsOf } from './config.js';
import type { Surroundings } from './files.js';
import { hostKeyName } from './known-hosts.js';
import { sshError } from './ssh-error.js';

/** A server on the way. Paths are absolute. */
export interface Hop {
  /** As it was named. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** As known_hosts files name it. */
  readonly hostKeyName: string;
  /** The first is where a key is added that somebody has confirmed. */
  readonly knownHosts: readonly string[];
  readonly hashKnownHosts: boolean;
  readonly identities: readonly string[];
  /** Of the agent's keys only those that are among identities. */
  readonly identitiesOnly: boolean;
  /** The socket of ssh-agent. */
  readonly authSocket?: string;
  readonly keepaliveMs: number;
  readonly keepaliveMax: number;
}

const HOPS_MAX = 8;
const PORT = 22;
const KEEPALIVE_S = 15;
const KEEPALIVE_MAX = 3;
/** In OpenSSH's order, without keys of hardware (-sk), which ssh2 doesn't know. */
const DEFAULT_IDENTITIES = ['id_rsa', 'id_ecdsa', 'id_ed25519'];

interface Place {
  readonly user?: string;
  readonly host: string;
  readonly port?: number;
}

/** In the order in which they are connected to; the last is the target's. Fails as AgentError 'failed'. */
export function routeTo(target: SshTarget, files: ConfigFiles, around: Surroundings): Hop[] {
  return hopsTo(target, undefined, files, around, []);
}

/** jumps: those that were named beside it, which go before its own. */
function hopsTo(
  place: Place,
  jumps: readonly string[] | undefined,
  files: ConfigFiles,
  around: Surroundings,
  after: readonly string[],
): Hop[] {
  if (after.length >= HOPS_MAX) {
    throw sshError('failed', `ProxyJump: ${after.join(', ')} are more than ${HOPS_MAX} hosts behind each other`);
  }
  const settings = settingsOf(place.host, place.user, files, around);
  const hop = hopOf(place, settings, around);
  const before = jumps ?? settings.jumps;
  const last = before.at(-1);
  if (last === undefined) return [hop];
  // As ssh -J: what is named before a jump host is its way; the first one has its own.
  const rest = before.slice(0, -1);
  const way = hopsTo(placeOf(last), rest.length === 0 ? undefined : rest, files, around, [...after, place.host]);
  return [...way, hop];
}

/** "[user@]host[:port]", "ssh://[user@]host[:port]" */
function placeOf(text: string): Place {
  const match = /^(?:ssh:\/\/)?(?:(.+)@)?(?:\[([^\]]+)\]|([^:[\]\s@]+))(?::(\d{1,5}))?\/?$/.exec(text);
  const [user, host, port] = [match?.[1], match?.[2] ?? match?.[3], match?.[4]];
  if (host === undefined || host.startsWith('-') || Number(port ?? PORT) > 65_535) {
    throw sshError('failed', `ProxyJump has "${text.slice(0, 120)}": expected [USER@]HOST[:PORT]`);
  }
  return { ...(user === undefined ? {} : { user }), host, ...(port === undefined ? {} : { port: Number(port) }) };
}

function hopOf(place: Place, settings: HostSettings, around: Surroundings): Hop {
  const user = place.user ?? settings.user ?? around.localUser;
  if (user === '') throw sshError('failed', `this user has no name: say who logs in, as ssh://USER@${place.host}`);
  const port = place.port ?? settings.port ?? PORT;
  const host = expanded(settings.hostName ?? '%h', { h: place.host, '%': '%' });
  const signs = { d: around.home, h: host, n: place.host, p: String(port), r: user, u: around.localUser, '%': '%' };
  const path = (text: string): string => pathOf(expanded(text, signs), around);
  const inHome = (name: string): string => `${around.home}/.ssh/${name}`;
  const inSystem = (name: string): string => `${around.systemDirectory}/${name}`;
  const named = (texts: readonly string[] | undefined, otherwise: string[]): string[] =>
    texts === undefined ? otherwise : texts.filter((text) => text.toLowerCase() !== 'none').map(path);
  const { identityFiles, hostKeyAlias, hashKnownHosts, identitiesOnly, serverAliveIntervalS } = settings;
  const authSocket = authSocketOf(settings.identityAgent, path, around);
  return {
    name: place.host,
    host,
    port,
    user,
    hostKeyName: hostKeyAlias?.toLowerCase() ?? hostKeyName(host, port),
    knownHosts: [
      ...named(settings.userKnownHostsFiles, [inHome('known_hosts'), inHome('known_hosts2')]),
      ...named(settings.globalKnownHostsFiles, [inSystem('ssh_known_hosts'), inSystem('ssh_known_hosts2')]),
    ],
    hashKnownHosts,
    identities: identityFiles.length === 0 ? DEFAULT_IDENTITIES.map(inHome) : named(identityFiles, []),
    identitiesOnly,
    ...(authSocket === undefined ? {} : { authSocket }),
    // 0 turns it off there; here a connection that is gone has to be noticed.
    keepaliveMs: (serverAliveIntervalS || KEEPALIVE_S) * 1_000,
    keepaliveMax: settings.serverAliveCountMax || KEEPALIVE_MAX,
  };
}

function authSocketOf(
  named: string | undefined,
  path: (text: string) => string,
  { environment }: Surroundings,
): string | undefined {
  if (named?.toLowerCase() === 'none') return undefined;
  const variable = named === undefined || named === 'SSH_AUTH_SOCK' ? 'SSH_AUTH_SOCK' : /^\$(\w+)$/.exec(named)?.[1];
  return (variable === undefined ? path(named ?? '') : environment[variable]) || undefined;
}

/** ssh_config(5), TOKENS: those that say something about a path or a name. */
function expanded(text: string, signs: Readonly<Record<string, string>>): string {
  return text.replace(/%(.)/g, (_match, sign: string) => {
    const value = signs[sign];
    if (value !== undefined) return value;
    throw sshError('failed', `"${text}" in ssh_config has %${sign}, which is not followed here: write it out`);
  });
}

function pathOf(text: string, { home, environment }: Surroundings): string {
  const named = text.replace(/\$\{(\w+)\}/g, (_match, name: string) => {
    const value = environment[name];
    if (value !== undefined) return value;
    throw sshError('failed', `"${text}" in ssh_config has \${${name}}, and there is no such variable`);
  });
  if (named === '~' || named.startsWith('~/')) return `${home}${named.slice(1)}`;
  return named.startsWith('/') ? named : `${home}/${named}`;
}
