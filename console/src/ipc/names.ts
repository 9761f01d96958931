// SPDX-License-Identifier: Apache-2.0
/** Of the Terminal page: terminal-contract.ts. */
export const TERMINAL_METHODS = [
  'openTerminal',
  'readTerminal',
  'writeTerminal',
  'resizeTerminal',
  'closeTerminal',
] as const;

/** Of setting up: assistant-contract.ts. */
export const ASSISTANT_METHODS = [
  'localAgent',
  'startLocalAgent',
  'rootsOf',
  'addMesh',
  'lookAtMachine',
  'addNode',
  'nodeProgress',
  'stopAddingNode',
  'undoAddedNode',
  'keepAddedNode',
] as const;

/** Of who is logged in at a mesh: session-contract.ts. */
export const SESSION_METHODS = ['session', 'keepSession', 'logIn', 'logOut'] as const;

/** What the desktop's renderer may ask of the main process, by name. Everything else it asks of agents, by gRPC-Web. */
export const METHODS = [
  'meshes',
  'chooseMesh',
  'vaultState',
  'openVault',
  'closeVault',
  'forgetSecrets',
  'nextQuestion',
  'answerQuestion',
  'openLink',
  ...TERMINAL_METHODS,
  ...ASSISTANT_METHODS,
  ...SESSION_METHODS,
] as const;

export type Method = (typeof METHODS)[number];

/** Each has a channel of its own: there is none that takes a name from outside. */
export function channelOf(method: Method): string {
  return `marcher:${method}`;
}

/** What a channel is answered with: Electron would bury an error's message in one of its own. */
export type Reply = { readonly value: unknown } | { readonly failure: string };
