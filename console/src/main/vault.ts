// SPDX-License-Identifier: Apache-2.0
/**
 * The console's secrets (passphrases of SSH keys, passwords of SSH servers) on the disk. They are sealed by a random key, which is sealed
 * in turn by what the system keeps for this user (Electron's safeStorage), or where it keeps nothing by a passphrase:
 *
 *   new ──openVault(passphrase)──▶ open ──close()──▶ locked ──openVault(passphrase)──▶ open
 *   system: open, always
 *
 * On Linux without a keyring Electron's safeStorage obfuscates with a password that everybody knows ("basic_text"). That counts as
 * no keeping: until somebody has given a passphrase, secrets are refused. A vault stays with the way it was made by.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type Envelope, EnvelopeError, parseEnvelope, type ScryptCost, seal, unseal } from '@marcher/ca/envelope';
import { makeDirectoryOf, readPrivate, replacePrivate } from '@marcher/client/private-file';
import { z } from 'zod';
import { ConsoleError } from './ipc-server.js';

/** Of Electron's safeStorage, once the app is ready. */
export interface SafeStorage {
  isEncryptionAvailable(): boolean;
  /** On Linux alone. */
  getSelectedStorageBackend?(): string;
  encryptString(text: string): Buffer;
  decryptString(sealed: Buffer): string;
}

export type VaultState = 'open' | 'locked' | 'new';

export interface VaultOptions {
  readonly path: string;
  readonly safeStorage: SafeStorage;
  /** Lowered in tests only. */
  readonly cost?: ScryptCost;
}

const KIND = 'marcher console vault 1';
const FILE_MAX_BYTES = 1 << 20;
const SECRETS_MAX = 4_096;
const KEY_BYTES = 32;
/** What the backends of Electron that keep nothing are called. */
const KEEPS_NOTHING: ReadonlySet<string> = new Set(['basic_text', 'unknown']);

const fileShape = z.object({
  kind: z.literal(KIND),
  key: z.union([z.object({ system: z.base64() }), z.object({ passphrase: z.unknown() })]),
  secrets: z.unknown(),
});
const secretsShape = z.record(z.string().max(256), z.string().max(65_536));

type VaultFile = z.output<typeof fileShape>;

type SealedKey = { readonly system: string } | { readonly passphrase: Envelope };

interface Open {
  readonly key: Buffer;
  readonly sealedKey: SealedKey;
  secrets: ReadonlyMap<string, string>;
}

export class Vault {
  readonly #path: string;
  readonly #safeStorage: SafeStorage;
  readonly #cost: ScryptCost | undefined;
  #open: Open | undefined;
  /** The call before: each reads what that one has left, also where they were made at the same time. */
  #before: Promise<unknown> = Promise.resolve();

  constructor({ path, safeStorage, cost }: VaultOptions) {
    this.#path = path;
    this.#safeStorage = safeStorage;
    this.#cost = cost;
  }

  /** Fails as ConsoleError where the file is none of this program's, or the system does not give the key back. */
  state(): Promise<VaultState> {
    return this.#inOrder(() => this.#state());
  }

  /** By the passphrase, or makes it with that one. Nothing where it is open. */
  open(passphrase: string): Promise<VaultState> {
    return this.#inOrder<VaultState>(async () => {
      if ((await this.#state()) === 'open') return 'open';
      const file = this.#read();
      this.#open = file === undefined ? await this.#make(passphrase) : await this.#unlock(file, passphrase);
      return 'open';
    });
  }

  /** Forgets what was read. One that the system keeps is open again when it is asked for. */
  close(): Promise<void> {
    return this.#inOrder(async () => {
      this.#open?.key.fill(0);
      this.#open = undefined;
    });
  }

  /** Fails as ConsoleError where it is not open: what to do is said. */
  get(name: string): Promise<string | undefined> {
    return this.#inOrder(async () => (await this.#opened()).secrets.get(name));
  }

  /** undefined takes it away. When this returns it is on the disk. */
  set(name: string, secret: string | undefined): Promise<void> {
    return this.#inOrder(async () => {
      const open = await this.#opened();
      const secrets = new Map(open.secrets);
      if (secret === undefined) secrets.delete(name);
      else secrets.set(name, secret);
      if (secrets.size > SECRETS_MAX) throw new ConsoleError(`there are ${SECRETS_MAX} secrets, which is the most`);
      await this.#write(open, secrets);
      open.secrets = secrets;
    });
  }

  /** All secrets, and the key: what is kept from now on is in a new vault. */
  forget(): Promise<void> {
    return this.#inOrder(async () => {
      this.#open?.key.fill(0);
      this.#open = undefined;
      try {
        rmSync(this.#path, { force: true });
      } catch (error) {
        throw new ConsoleError(`can't remove ${this.#path}: ${(error as Error).message}`);
      }
    });
  }

  #inOrder<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#before.then(run);
    this.#before = result.catch(() => undefined);
    return result;
  }

  async #state(): Promise<VaultState> {
    if (this.#open !== undefined) return 'open';
    const file = this.#read();
    if (file === undefined ? this.#systemKeeps() : 'system' in file.key) {
      await this.#openBySystem(file);
      return 'open';
    }
    return file === undefined ? 'new' : 'locked';
  }

  async #make(passphrase: string): Promise<Open> {
    const key = randomBytes(KEY_BYTES);
    const envelope = await seal(key, { kind: 'passphrase', passphrase }, KIND, this.#cost);
    const open = { key, sealedKey: { passphrase: envelope }, secrets: new Map<string, string>() };
    await this.#write(open, open.secrets);
    return open;
  }

  async #unlock({ key: sealedKey, secrets }: VaultFile, passphrase: string): Promise<Open> {
    const envelope = 'passphrase' in sealedKey ? parseEnvelope(sealedKey.passphrase) : undefined;
    if (envelope === undefined) throw this.#unusable('its key is sealed in no way that this program knows');
    const key = Buffer.from(await this.#unsealing(unseal(envelope, { kind: 'passphrase', passphrase }, KIND)));
    return { key, sealedKey: { passphrase: envelope }, secrets: await this.#secretsOf(secrets, key) };
  }

  async #opened(): Promise<Open> {
    const state = await this.#state();
    if (this.#open !== undefined) return this.#open;
    throw new ConsoleError(
      state === 'locked'
        ? 'the secrets of this console are locked: give their passphrase'
        : 'this system keeps no secrets (there is no keyring): choose a passphrase, or nothing is kept',
    );
  }

  #systemKeeps(): boolean {
    const backend = this.#safeStorage.getSelectedStorageBackend?.();
    return this.#safeStorage.isEncryptionAvailable() && (backend === undefined || !KEEPS_NOTHING.has(backend));
  }

  async #openBySystem(file: VaultFile | undefined): Promise<void> {
    if (file === undefined) {
      const key = randomBytes(KEY_BYTES);
      const sealedKey = { system: this.#safeStorage.encryptString(key.toString('base64')).toString('base64') };
      // Written with the first secret.
      this.#open = { key, sealedKey, secrets: new Map() };
      return;
    }
    const { system } = file.key as { system: string };
    if (!this.#systemKeeps()) throw this.#unusable("the system's keyring has its key, and there is none now: start it");
    let key: Buffer;
    try {
      key = Buffer.from(this.#safeStorage.decryptString(Buffer.from(system, 'base64')), 'base64');
    } catch {
      throw this.#unusable("the system's keyring does not give its key: is it that of another user, or was it reset?");
    }
    this.#open = { key, sealedKey: { system }, secrets: await this.#secretsOf(file.secrets, key) };
  }

  async #secretsOf(sealed: unknown, key: Uint8Array): Promise<ReadonlyMap<string, string>> {
    const envelope = parseEnvelope(sealed);
    if (envelope === undefined) throw this.#unusable('what is in it is not sealed as this program does');
    const text = Buffer.from(await this.#unsealing(unseal(envelope, { kind: 'key-file', key }, KIND))).toString();
    const secrets = secretsShape.safeParse(JSON.parse(text));
    if (!secrets.success) throw this.#unusable('what is in it are no secrets');
    return new Map(Object.entries(secrets.data));
  }

  async #unsealing(opening: Promise<Uint8Array>): Promise<Uint8Array> {
    try {
      return await opening;
    } catch (error) {
      if (error instanceof EnvelopeError && error.code === 'wrong-passphrase') throw new ConsoleError(error.message);
      if (error instanceof EnvelopeError) throw this.#unusable(error.message);
      throw error;
    }
  }

  async #write({ key, sealedKey }: Open, secrets: ReadonlyMap<string, string>): Promise<void> {
    const text = JSON.stringify(Object.fromEntries(secrets));
    const sealed = await seal(Buffer.from(text), { kind: 'key-file', key }, KIND);
    const file = `${JSON.stringify({ kind: KIND, key: sealedKey, secrets: sealed })}\n`;
    if (file.length > FILE_MAX_BYTES)
      throw new ConsoleError(`the secrets are more than ${FILE_MAX_BYTES} bytes: remove some`);
    try {
      makeDirectoryOf(this.#path);
      replacePrivate(this.#path, file);
    } catch (error) {
      throw new ConsoleError(`can't write ${this.#path}: ${(error as Error).message}`);
    }
  }

  #read(): VaultFile | undefined {
    let text: string | undefined;
    try {
      text = readPrivate(this.#path, FILE_MAX_BYTES);
    } catch (error) {
      throw this.#unusable((error as Error).message);
    }
    if (text === undefined) return undefined;
    try {
      return fileShape.parse(JSON.parse(text));
    } catch {
      throw this.#unusable('it is not the file of a vault, or of a newer program');
    }
  }

  #unusable(reason: string): ConsoleError {
    return new ConsoleError(
      `${this.#path} is not used: ${reason}; moving it away loses the secrets in it, and begins anew`,
    );
  }
}
