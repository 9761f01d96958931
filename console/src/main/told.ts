// SPDX-License-Identifier: Apache-2.0
import { AgentError } from '@marcher/client';
import { AddressBookError } from '@marcher/client/address-book';
import { ConsoleError } from './ipc-server.js';

/** What an agent, a server or the address book says is a sentence for the person. */
export async function told<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof AgentError || error instanceof AddressBookError) throw new ConsoleError(error.message);
    throw error;
  }
}
