// SPDX-License-Identifier: Apache-2.0
/** What answers the page: meshes are the targets of the address book, which `marcher target` uses, too; secrets are the vault's. */
import { AddressBookError, LOCAL_NAME, type NamedTarget, withCurrent } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import { DEFAULT_TARGET } from '@marcher/client/target';
import type { Handlers } from '../ipc/contract.js';
import { ConsoleError } from './ipc-server.js';
import type { Vault } from './vault.js';

/** chosen: told of the name when the person has chosen another mesh; agents are reached there from then on. */
export function pageHandlers(
  book: AddressBookFile,
  vault: Vault,
  chosen: (name: string) => void,
): Omit<Handlers, 'openLink'> {
  return {
    meshes() {
      const { current, targets } = told(() => book.read());
      const local = { name: LOCAL_NAME, url: DEFAULT_TARGET, isChosen: current === undefined };
      return [local, ...[...targets].map(([name, target]) => shown(name, target, name === current))];
    },
    async chooseMesh(name) {
      try {
        await book.update((before) => withCurrent(before, name));
      } catch (error) {
        throw asTold(error);
      }
      chosen(name);
    },
    vaultState: () => vault.state(),
    openVault: (passphrase) => vault.open(passphrase),
    async closeVault() {
      await vault.close();
      return await vault.state();
    },
  };
}

/** Without its token: the page has no use for it. */
function shown(name: string, { url, session }: NamedTarget, isChosen: boolean) {
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
