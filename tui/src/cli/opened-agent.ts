// SPDX-License-Identifier: Apache-2.0
/**
 * The connection of a command: with the session that was begun there, and with what was heard of nodes that were removed from
 * their mesh, which is asked for now and then. What comes new is held against the agent itself before anything else is said.
 */
import {
  type AgentClient,
  createAgentClient,
  hearRevocations,
  isHearingDue,
  knownRevocations,
  meshRoots,
  type SshTarget,
} from '@marcher/client';
import { configurationDirectory } from '@marcher/client/private-file';
import { RevocationsFile } from '@marcher/client/revocations-file';
import type { ChosenTarget } from './chosen-target.js';
import { ExitCode } from './exit-code.js';
import { Failure } from './failure.js';
import { withSessionToken } from './stored-session.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** These will be said again by the command's own call, which is given up in the same way. */
const CALLS_TOO = new Set(['unreachable', 'untrusted', 'denied']);

/**
 * asks: not before a login, or a logout. mayAsk: the person at the terminal, where the way there takes that. Fails as AgentError
 * or Failure.
 */
export async function openAgent(
  chosen: ChosenTarget,
  environment: Environment,
  connectTimeoutMs: number,
  asks = true,
  mayAsk = true,
): Promise<AgentClient> {
  const { target, credentials } = chosen;
  if (target.kind === 'ssh') return await openBySsh(target, connectTimeoutMs, mayAsk);
  const roots = target.kind === 'tls' ? meshRoots(credentials.ca) : [];
  const store = new RevocationsFile(configurationDirectory(environment));
  const before = failing(() => knownRevocations(store, roots));
  const withRevocations = { ...chosen, credentials: { ...credentials, revocations: before } };
  const shown = await withSessionToken(withRevocations, environment);
  const agent = createAgentClient(target, { connectTimeoutMs, credentials: shown });
  const isSomebody = shown.token !== undefined || shown.certificate !== undefined;
  if (!asks || !isSomebody || !isHearingDue(before, Date.now())) return agent;
  try {
    const heard = await hearRevocations(agent, store, roots, before, { timeoutMs: connectTimeoutMs }, Date.now);
    if (process.stderr.isTTY && before.length > 0 && before.every(({ askedMs }) => askedMs === 0)) {
      process.stderr.write(
        'First contact: from now on nodes that were removed from this mesh are known, and refused.\n',
      );
    }
    if (!heard.news) return agent;
    agent.close();
    return createAgentClient(target, { connectTimeoutMs, credentials: { ...shown, revocations: heard.known } });
  } catch (error) {
    const { name, code = '', message } = error as Error & { readonly code?: string };
    if (CALLS_TOO.has(code)) {
      agent.close();
      throw error;
    }
    // An agent that is older, or busy: what was known goes on to count. Where it can't be kept is said, and goes on, too.
    if (name !== 'AgentError') process.stderr.write(`Removed nodes may go unnoticed: ${message}\n`);
    return agent;
  }
}

async function openBySsh(target: SshTarget, connectTimeoutMs: number, mayAsk: boolean): Promise<AgentClient> {
  const { connectBySsh } = await import('./ssh-tunnels.js');
  const tunnels = await connectBySsh(target, connectTimeoutMs, mayAsk);
  const agent = createAgentClient(target, { connectTimeoutMs, tunnels });
  return {
    ...agent,
    close() {
      agent.close();
      tunnels.close();
    },
  };
}

function failing<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Failure(ExitCode.error, (error as Error).message);
  }
}
