// SPDX-License-Identifier: Apache-2.0
/**
 * Secrets that the person has given once and wants kept. Where the vault is closed, its passphrase is asked for when there is
 * something to read or to keep; who does not want to give it is not asked again by this console, and nothing is kept.
 */
import type { IpcLogger } from './ipc-server.js';
import type { OpenQuestions } from './open-questions.js';
import type { Vault } from './vault.js';

const TITLE = 'Secrets of this console';
const PASSPHRASE_MIN = 8;

export class KeptSecrets {
  readonly #questions: OpenQuestions;
  readonly #vault: Vault;
  readonly #logger: IpcLogger;
  #isDeclined = false;
  /** Who else wants it open waits for the same answer. */
  #opening: Promise<boolean> | undefined;

  constructor(questions: OpenQuestions, vault: Vault, logger: IpcLogger) {
    this.#questions = questions;
    this.#vault = vault;
    this.#logger = logger;
  }

  /** undefined: none is known. Never fails: a vault that can't be used has none. */
  async get(name: string): Promise<string | undefined> {
    return await this.#tried(async () => {
      // In one that is still to be made there is nothing.
      if ((await this.#vault.state()) === 'new' || !(await this.#isOpened())) return undefined;
      return await this.#vault.get(name);
    });
  }

  /** Whether it is kept. */
  async keep(name: string, secret: string): Promise<boolean> {
    const kept = await this.#tried(async () => {
      this.#isDeclined = false;
      if (!(await this.#isOpened())) return undefined;
      await this.#vault.set(name, secret);
      return 'kept';
    });
    return kept !== undefined;
  }

  async #tried(run: () => Promise<string | undefined>): Promise<string | undefined> {
    try {
      return await run();
    } catch (error) {
      this.#logger.warn({ error: (error as Error).message }, 'the secrets of this console could not be used');
      return undefined;
    }
  }

  async #isOpened(): Promise<boolean> {
    if ((await this.#vault.state()) === 'open') return true;
    if (this.#isDeclined) return false;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #open(): Promise<boolean> {
    let problem: string | undefined;
    for (;;) {
      const isNew = (await this.#vault.state()) === 'new';
      const answered = await this.#questions.ask({
        title: TITLE,
        text: [...(problem === undefined ? [] : [problem]), isNew ? WHY_NEW : WHY_LOCKED],
        fields: isNew
          ? [
              { label: `Passphrase, ${PASSPHRASE_MIN} characters or more`, isSecret: true },
              { label: 'The same again', isSecret: true },
            ]
          : [{ label: 'Passphrase', isSecret: true }],
        action: isNew ? 'Choose it' : 'Unlock',
        mayKeep: false,
      });
      const [passphrase, again] = answered?.answers ?? [];
      if (passphrase === undefined) {
        this.#isDeclined = true;
        return false;
      }
      problem = await this.#problemOf(passphrase, isNew ? again : passphrase);
      if (problem === undefined) return true;
    }
  }

  async #problemOf(passphrase: string, again: string | undefined): Promise<string | undefined> {
    if (passphrase !== again) return 'The two were not the same.';
    if (passphrase.length < PASSPHRASE_MIN) return `It had fewer than ${PASSPHRASE_MIN} characters.`;
    try {
      await this.#vault.open(passphrase);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }
}

const WHY_NEW =
  'This system keeps no secrets (there is no keyring). With a passphrase of yours this console can keep them; without, they are asked for each time.';
const WHY_LOCKED =
  'What is asked for next may be among them. They are locked by the passphrase that was chosen for them.';
