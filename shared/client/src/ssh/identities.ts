// SPDX-License-Identifier: Apache-2.0
/** The keys that a user may show to a server, in OpenSSH's order, each able to sign: by ssh-agent, or from a file. */
import ssh2, { type ParsedKey, type SignCallback, type SigningRequestOptions } from 'ssh2';
import { type DecryptedKeys, publicKeyAt, samePublicKey } from './private-keys.js';
import type { Questions } from './questions.js';
import type { Hop } from './route.js';
import { plainText, sshError } from './ssh-error.js';

const { BaseAgent, OpenSSHAgent } = ssh2;

/** ssh-agent answers at once, unless its socket leads nowhere. */
const AGENT_MS = 5_000;
const IDENTITIES_MAX = 100;

export interface Identity {
  /** "~/.ssh/id_ed25519", "alice@laptop of ssh-agent" */
  readonly label: string;
  readonly key: ParsedKey;
  /** hash: of an RSA key. undefined: nobody has given its passphrase. Fails as Error. */
  sign(data: Buffer, hash: SigningRequestOptions['hash']): Promise<Buffer | undefined>;
}

export interface Identities {
  readonly list: readonly Identity[];
  /** What could not be used, each a sentence. */
  readonly remarks: readonly string[];
}

/** Never fails: what can't be used is among the remarks. */
export async function identitiesOf(
  { authSocket, identities, identitiesOnly }: Hop,
  decrypted: DecryptedKeys,
  ask: Questions['passphrase'],
): Promise<Identities> {
  const remarks: string[] = [];
  const files: Identity[] = [];
  for (const path of identities) {
    try {
      const key = publicKeyAt(path);
      if (key !== undefined) files.push({ label: path, key, sign: (data, hash) => signed(path, key, data, hash) });
    } catch (error) {
      remarks.push((error as Error).message);
    }
  }
  const held = authSocket === undefined ? [] : await agentKeys(authSocket, remarks);
  const same = (one: Identity, other: Identity): boolean => samePublicKey(one.key, other.key);
  // First those that files name and the agent has, then what else that has, then the files.
  const named = files.flatMap((file) => held.find((each) => same(each, file)) ?? []);
  const others = identitiesOnly ? [] : held.filter((each) => !named.includes(each));
  const rest = files.filter((file) => !named.some((each) => same(each, file)));
  return { list: [...named, ...others, ...rest].slice(0, IDENTITIES_MAX), remarks };

  async function signed(path: string, shown: ParsedKey, data: Buffer, hash: SigningRequestOptions['hash']) {
    const key = await decrypted.of(path, ask);
    if (key === undefined) return undefined;
    if (!samePublicKey(key, shown))
      throw sshError('failed', `${path}.pub is not the public key of ${path}: make it again`);
    const signature: Buffer | Error = key.sign(data, hash);
    if (signature instanceof Error) throw signature;
    return signature;
  }
}

async function agentKeys(path: string, remarks: string[]): Promise<Identity[]> {
  const agent = new OpenSSHAgent(path);
  const keys = await new Promise<readonly ParsedKey[]>((resolve) => {
    const none = (why: string): void => {
      remarks.push(`ssh-agent at ${path} has not said which keys it has: ${why}`);
      resolve([]);
    };
    const timer = setTimeout(() => none('no answer'), AGENT_MS);
    agent.getIdentities((error, found) => {
      clearTimeout(timer);
      if (error) none(error.message);
      else resolve((found ?? []).map((each) => ('pubKey' in each ? (each.pubKey as ParsedKey) : each)));
    });
  });
  return keys.map((key) => ({
    label: `${plainText(key.comment, 80) || key.type} of ssh-agent`,
    key,
    sign: (data, hash) =>
      new Promise((resolve, reject) => {
        const options = hash === undefined ? {} : { hash };
        agent.sign(key, data, options, (error, signature) => (error ? reject(error) : resolve(signature)));
      }),
  }));
}

/** One key, shown to ssh2 as an agent: it asks for a signature only once the server has said that it takes the key. */
export class OneIdentity extends BaseAgent<ParsedKey> {
  private readonly identity: Identity;
  /** The server takes the key, and has a signature of it. */
  hasSigned = false;
  /** Why there is no signature. */
  remark: string | undefined;

  constructor(identity: Identity) {
    super();
    this.identity = identity;
  }

  override getIdentities(done: (error?: Error | null, keys?: ParsedKey[]) => void): void {
    done(null, [this.identity.key]);
  }

  override sign(
    _key: ParsedKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    const done = typeof options === 'function' ? options : callback;
    const hash = typeof options === 'function' ? undefined : options.hash;
    this.signed(data, hash).then(
      (signature) => {
        this.hasSigned = true;
        done?.(null, signature);
      },
      (error: Error) => {
        this.remark = error.message;
        done?.(error);
      },
    );
  }

  private async signed(data: Buffer, hash: SigningRequestOptions['hash']): Promise<Buffer> {
    const { key, label } = this.identity;
    if (key.type === 'ssh-rsa' && hash !== 'sha256' && hash !== 'sha512') {
      throw new Error(`${label}: the server wants a signature with SHA-1, which is not given: use another kind of key`);
    }
    const signature = await this.identity.sign(data, hash);
    if (signature === undefined) throw new Error(`${label}: its passphrase was not given`);
    return signature;
  }
}
