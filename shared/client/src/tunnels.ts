// SPDX-License-Identifier: Apache-2.0
import type { Duplex } from 'node:stream';
import type { SshTarget } from './target.js';

/** Ways to agents' sockets on other machines: ssh/tunnels.ts has those by SSH. */
export interface Tunnels {
  /** A stream to the agent's socket. Fails as AgentError. signal: gives it up. */
  open(target: SshTarget, signal?: AbortSignal): Promise<Duplex>;
}
