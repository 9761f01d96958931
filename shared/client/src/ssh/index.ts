// SPDX-License-Identifier: Apache-2.0
/** Agents by SSH, for Node.js alone. Whoever needs none does not load it. */
export type { Surroundings } from './files.js';
export type { Questions, ServerQuestions, UnknownServer } from './questions.js';
export { RemoteShell, type RemoteShellOptions } from './remote-shell.js';
export { SshTunnels, type SshTunnelsOptions } from './tunnels.js';
