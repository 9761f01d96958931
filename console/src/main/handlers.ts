// SPDX-License-Identifier: Apache-2.0
/** What answers the page: meshes are the targets of the address book, which `marcher target` writes; secrets are the vault's. */
import { AddressBookError, LOCAL_NAME, type NamedTarget, named } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import { DEFAULT_TARGET } from '@marcher/client/target';
import type { PageHandlers } from '../ipc/contract.js';
import type { ChosenMesh } from './chosen-mesh.js';
import { ConsoleError } from './ipc-server.js';
import type { OpenQuestions } from './open-questions.js';
import type { Vault } from './vault.js';

export interface PageParts {
  readonly book: Pick<AddressBookFile, 'read'>;
  readonly vault: Vault;
  readonly chosen: ChosenMesh;
  readonly questions: OpenQuestions;
  /** The page shows another mesh from now on. */
  shows(mesh: string): void;
}

export function pageHandlers({ book, vault, chosen, questions, shows }: PageParts): PageHandlers {
  return {
    meshes() {
      const known = told(() => book.read());
      const shown = chosen.of(known);
      const local = { name: LOCAL_NAME, url: DEFAULT_TARGET, isChosen: shown === LOCAL_NAME };
      return [local, ...[...known.targets].map(([name, target]) => inList(name, target, name === shown))];
    },
    chooseMesh(name) {
      if (name !== LOCAL_NAME) told(() => named(book.read(), name));
      chosen.choose(name);
      shows(name);
    },
    vaultState: () => vault.state(),
    openVault: (passphrase) => vault.open(passphrase),
    async closeVault() {
      await vault.close();
      return await vault.state();
    },
    async forgetSecrets() {
      await vault.forget();
      return await vault.state();
    },
    nextQuestion: (after) => questions.next(after),
    answerQuestion: (id, answers, keep) => questions.answer(id, answers ?? undefined, keep),
  };
}

/** Without its token: the page has no use for it. */
function inList(name: string, { url, session }: NamedTarget, isChosen: boolean) {
  return { name, url, isChosen, ...(session === undefined ? {} : { user: session.user }) };
}

function told<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw asTold(error);
  }
}

/** An AddressBookError is a sentence for the person, with a fix and without what is in the book. */
function asTold(error: unknown): unknown {
  return error instanceof AddressBookError ? new ConsoleError(error.message) : error;
}
