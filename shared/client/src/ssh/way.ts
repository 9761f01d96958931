// SPDX-License-Identifier: Apache-2.0
/** The servers on the way to a target, one connected through the other. */
import { connect, type Socket } from 'node:net';
import type { SshTarget } from '../target.js';
import { configFiles, type Surroundings } from './files.js';
import { Link, type LinkParts } from './link.js';
import { where } from './login.js';
import { type Hop, routeTo } from './route.js';
import { plainText, sshError } from './ssh-error.js';

/**
 * The last is the target's. Aborting the signal of parts ends all of them, also later. identityFile: the one key to show to the
 * target, in the place of those that files name. Fails as AgentError.
 */
export async function connectWay(
  target: SshTarget,
  parts: LinkParts,
  around: Surroundings,
  identityFile?: string,
): Promise<readonly Link[]> {
  const { signal, timeoutMs } = parts;
  const links: Link[] = [];
  const end = (): void => {
    const reason = sshError('unreachable', `the connection to ${target.host} was closed here`, signal.reason);
    for (const link of links.toReversed()) link.close(reason);
  };
  signal.addEventListener('abort', end);
  try {
    const hops = routeTo(target, configFiles, around);
    for (const [index, named] of hops.entries()) {
      const isTarget = identityFile !== undefined && index === hops.length - 1;
      const hop = isTarget ? { ...named, identities: [identityFile], identitiesOnly: true } : named;
      const before = links.at(-1);
      const stream =
        before === undefined ? await connectTo(hop, timeoutMs, signal) : await before.toHost(hop.host, hop.port);
      const link = await Link.open(hop, stream, parts);
      links.push(link);
      // What was before on the way has no use without what comes after, nor this without that.
      link.onClose((reason) => before?.close(reason));
      before?.onClose((reason) => link.close(reason));
    }
    signal.throwIfAborted();
    return links;
  } catch (error) {
    end();
    throw error;
  }
}

async function connectTo(hop: Hop, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host: hop.host, port: hop.port, noDelay: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(unreachable(hop, error)));
      timer = setTimeout(() => reject(sshError('unreachable', `${where(hop)} does not answer`)), timeoutMs);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return socket;
  } catch (error) {
    socket.on('error', () => undefined).destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function unreachable(hop: Hop, error: NodeJS.ErrnoException): Error {
  const why =
    error.code === 'ECONNREFUSED'
      ? 'nobody listens there: is that the port of its SSH server?'
      : error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN'
        ? 'the host name does not resolve'
        : plainText(error.message);
  return sshError('unreachable', `${where(hop)} can't be reached by SSH: ${why}`, error);
}
