// SPDX-License-Identifier: Apache-2.0
/** What setting up may ask. */
import type { AddressBookFile } from '@marcher/client/address-book-file';
import type { AssistantMethod } from '../../ipc/assistant-contract.js';
import type { Handlers } from '../../ipc/contract.js';
import { told } from '../told.js';
import { addMesh, rootsAt } from './add-mesh.js';
import { type LocalMachine, lookForAgent, startAgent } from './local-agent.js';
import type { NodeAdding } from './node-adding.js';

export interface AssistantParts {
  readonly book: AddressBookFile;
  readonly local: LocalMachine;
  readonly adding: NodeAdding;
}

export function assistantHandlers({ book, local, adding }: AssistantParts): Pick<Handlers, AssistantMethod> {
  return {
    localAgent: () => told(() => lookForAgent(local)),
    startLocalAgent: () => told(() => startAgent(local)),
    rootsOf: (url) => told(() => rootsAt(url)),
    addMesh: (mesh) => told(() => addMesh(book, mesh)),
    lookAtMachine: (choice) => told(() => adding.look(choice)),
    addNode: (wanted) => told(async () => adding.add(wanted)),
    nodeProgress: (after) => adding.progress(after),
    stopAddingNode: () => adding.stop(),
    undoAddedNode: () => adding.undo(),
    keepAddedNode: () => told(() => adding.keep()),
  };
}
