// SPDX-License-Identifier: Apache-2.0
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
] as const;

export type Method = (typeof METHODS)[number];

/** Each has a channel of its own: there is none that takes a name from outside. */
export function channelOf(method: Method): string {
  return `marcher:${method}`;
}

/** What a channel is answered with: Electron would bury an error's message in one of its own. */
export type Reply = { readonly value: unknown } | { readonly failure: string };
