// SPDX-License-Identifier: Apache-2.0
/** Setting up, put together for this machine. */
import { createAgentClient, type Tunnels } from '@marcher/client';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import { archivesIn, layoutUnder, systemd } from '@marcher/client/provision';
import type { Questions } from '@marcher/client/ssh';
import { chooseAgent } from '../../entry/chosen-agent.js';
import type { AssistantMethod } from '../../ipc/assistant-contract.js';
import type { Handlers } from '../../ipc/contract.js';
import type { IpcLogger } from '../ipc-server.js';
import { assistantHandlers } from './assistant-handlers.js';
import { thisMachine } from './local-agent.js';
import { NodeAdding } from './node-adding.js';

export interface AssistantOptions {
  readonly book: AddressBookFile;
  /** For meshes whose entry agent is reached by SSH. */
  readonly tunnels: Tunnels;
  readonly ask: Questions;
  readonly logger: IpcLogger;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Directories that installations are in. */
  readonly archives: readonly string[];
}

export interface Assistant {
  readonly handlers: Pick<Handlers, AssistantMethod>;
  close(): void;
}

export function assistantOf({ book, tunnels, ask, logger, environment, archives }: AssistantOptions): Assistant {
  const adding = new NodeAdding({
    ask,
    agentOf: (mesh) => {
      const { target, credentials } = chooseAgent(mesh, {}, environment);
      return createAgentClient(target, { credentials, tunnels });
    },
    archives: () => archivesIn(archives),
    layout: layoutUnder(),
    runner: systemd,
    logger,
  });
  return {
    handlers: assistantHandlers({ book, local: thisMachine, adding }),
    close: () => adding.close(),
  };
}
