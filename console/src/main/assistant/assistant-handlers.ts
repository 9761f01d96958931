// SPDX-License-Identifier: Apache-2.0
/** What setting up may ask. */
import { AgentError } from '@marcher/client';
import { AddressBookError } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import type { AssistantMethod } from '../../ipc/assistant-contract.js';
import type { Handlers } from '../../ipc/contract.js';
import { ConsoleError } from '../ipc-server.js';
import { addMesh, logIn, rootsAt } from './add-mesh.js';
import { type LocalMachine, lookForAgent, startAgent } from './local-agent.js';
import type { NodeAdding } from './node-adding.js';

export interface AssistantParts {
  readonly book: AddressBookFile;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly local: LocalMachine;
  readonly adding: NodeAdding;
}

export function assistantHandlers({
  book,
  environment,
  local,
  adding,
}: AssistantParts): Pick<Handlers, AssistantMethod> {
  return {
    localAgent: () => told(() => lookForAgent(local)),
    startLocalAgent: () => told(() => startAgent(local)),
    rootsOf: (url) => told(() => rootsAt(url)),
    addMesh: (mesh) => told(() => addMesh(book, mesh)),
    logIn: (login) => told(() => logIn(book, environment, login)),
    lookAtMachine: (choice) => told(() => adding.look(choice)),
    addNode: (wanted) => told(async () => adding.add(wanted)),
    nodeProgress: (after) => adding.progress(after),
    stopAddingNode: () => adding.stop(),
    undoAddedNode: () => adding.undo(),
    keepAddedNode: () => told(() => adding.keep()),
  };
}

/** What an agent, a server or the address book says is a sentence for the person. */
async function told<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof AgentError || error instanceof AddressBookError) throw new ConsoleError(error.message);
    throw error;
  }
}
