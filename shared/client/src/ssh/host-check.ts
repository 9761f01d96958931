// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a server is the one that was meant: its key is known, or somebody confirms it. Asked before anything is said of who
 * logs in, and again for each new exchange of keys.
 */
import { randomBytes } from 'node:crypto';
import { algorithmsFor } from './algorithms.js';
import { appendKnownHost, readKnownHosts } from './files.js';
import { fingerprint, judge, type KnownKey, keyType, knownHostLine, knownKeys } from './known-hosts.js';
import { where } from './login.js';
import type { Questions } from './questions.js';
import type { Hop } from './route.js';
import { plainText, sshError } from './ssh-error.js';

const SALT_BYTES = 20;

export class HostCheck {
  private readonly hop: Hop;
  private readonly ask: Questions['confirmHostKey'];
  private readonly known: readonly KnownKey[];
  /** What this connection began with: it goes on with no other. */
  private shown: Buffer | undefined;
  /** Somebody has confirmed it: it is written down once the server has shown that it has the private key, too. */
  private isNew = false;

  /** Reads the files, now. Fails as AgentError. */
  constructor(hop: Hop, ask: Questions['confirmHostKey']) {
    this.hop = hop;
    this.ask = ask;
    this.known = knownKeys(readKnownHosts(hop.knownHosts), hop.hostKeyName);
  }

  get algorithms() {
    return algorithmsFor(this.known.filter(({ marker }) => marker === '').map(({ type }) => type));
  }

  /**
   * false: somebody has to confirm it. At once, since a connection that exchanges keys anew goes on sending meanwhile (ssh2 would
   * send that in the midst of the exchange, and OpenSSH ends the connection then). Fails as AgentError 'untrusted'.
   */
  isKnown(key: Buffer): boolean {
    const { hop } = this;
    if (this.shown !== undefined) {
      if (this.shown.equals(key)) return true;
      throw refusal(hop, `it began with the key ${fingerprint(this.shown)}, and now shows ${fingerprint(key)}`);
    }
    const verdict = judge(key, this.known);
    const type = plainText(keyType(key) ?? 'unknown', 40);
    switch (verdict.kind) {
      case 'known':
        this.shown = key;
        return true;
      case 'revoked': {
        const what = `its ${type} key ${fingerprint(key)} is REVOKED (${verdict.by.path}:${verdict.by.line})`;
        throw refusal(hop, `${what}: somebody else may have it; ask who runs it`);
      }
      case 'changed':
        throw changed(hop, type, fingerprint(key), verdict.known);
      case 'unknown':
        // A CA of hosts is not followed, and not gone around either.
        if (this.ask !== undefined && verdict.authorities.length === 0) return false;
        throw unknown(hop, type, fingerprint(key), verdict.authorities, this.writtenTo());
    }
  }

  /** Asks a person. Fails as AgentError 'untrusted', or with what the question threw. */
  async confirm(key: Buffer): Promise<void> {
    const { host, port, hostKeyName: name } = this.hop;
    const type = plainText(keyType(key) ?? 'unknown', 40);
    const server = { name, host, port, keyType: type, fingerprint: fingerprint(key), path: this.writtenTo() };
    if ((await this.ask?.(server)) !== true) {
      throw refusal(this.hop, `its ${type} key ${server.fingerprint} was not confirmed`);
    }
    this.shown = key;
    this.isNew = true;
  }

  /** Of a key that was confirmed. Fails as AgentError. */
  keep(): void {
    if (!this.isNew || this.shown === undefined) return;
    this.isNew = false;
    const salt = this.hop.hashKnownHosts ? randomBytes(SALT_BYTES) : undefined;
    appendKnownHost(this.writtenTo(), knownHostLine(this.hop.hostKeyName, this.shown, salt));
  }

  private writtenTo(): string {
    return this.hop.knownHosts[0] ?? '/dev/null';
  }
}

function changed(hop: Hop, type: string, print: string, known: readonly KnownKey[]): Error {
  const lines = known.slice(0, 5).map((each) => `${each.path}:${each.line} (${each.type} ${fingerprint(each.key)})`);
  const what = `THE KEY OF THIS SERVER HAS CHANGED: it shows ${type} ${print}, and known is ${lines.join(', ')}`;
  const file = known[0]?.path ?? '';
  const fix = `ask who runs it, and only then remove what is known: ssh-keygen -R '${hop.hostKeyName}' -f ${file}`;
  return refusal(hop, `${what}. Somebody may stand between you and it. If its key was replaced, ${fix}`);
}

function unknown(hop: Hop, type: string, print: string, authorities: readonly KnownKey[], path: string): Error {
  const [authority] = authorities;
  const by =
    authority === undefined
      ? 'no known_hosts file has its key'
      : `${authority.path}:${authority.line} names a CA for it, and certificates of hosts are not followed here`;
  const port = hop.port === 22 ? '' : `-p ${hop.port} `;
  const add = `ssh-keyscan -t ${type.replace(/^ssh-/, '').replace(/^ecdsa-.*/, 'ecdsa')} ${port}${hop.host} >> ${path}`;
  const fix = `compare ${type} ${print} with what its operator says, then log in by ssh once, or ${add}`;
  return refusal(hop, `${by}: ${fix}`);
}

function refusal(hop: Hop, why: string): Error {
  return sshError('untrusted', `${where(hop)} is not trusted: ${why}. Nothing was said of who logs in`);
}
