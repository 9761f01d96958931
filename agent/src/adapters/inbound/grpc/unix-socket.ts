// SPDX-License-Identifier: Apache-2.0
/**
 * Listening on a Unix socket that may have been left behind.
 *
 * The socket is bound under a temporary name, given its owner and mode, and only then renamed to its place: nobody can
 * connect while the permissions are still those of the umask, and a dead agent's file is replaced in one step. Whether
 * the file is dead is found out by connecting to it.
 */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';

/** sockaddr_un.sun_path holds 108 bytes with the terminating NUL. */
const pathMaxBytes = 107;
const temporarySuffix = '.new';
const probeTimeoutMs = 2000;

export interface BoundSocket {
  readonly path: string;
  /** Removes the file unless another agent has put its own there. */
  release(): void;
}

export async function listenOnUnixSocket(server: Server, path: string, group: string): Promise<BoundSocket> {
  const temporary = path + temporarySuffix;
  if (Buffer.byteLength(temporary) > pathMaxBytes) {
    throw new Error(
      `the API socket's path "${path}" is ${Buffer.byteLength(path)} bytes long: expected at most ` +
        `${pathMaxBytes - temporarySuffix.length}, the kernel's limit; choose a shorter one with --socket`,
    );
  }
  const existing = lstatSync(path, { throwIfNoEntry: false });
  if (existing !== undefined) {
    if (!existing.isSocket()) {
      throw new Error(`"${path}" exists and is not a socket: remove it, or choose another path with --socket`);
    }
    if (await answers(path)) {
      throw new Error(
        `another process already serves the API socket "${path}": stop that agent, or choose another path with --socket`,
      );
    }
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  rmSync(temporary, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: temporary }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  try {
    const gid = groupId(group);
    if (gid !== undefined) {
      try {
        chownSync(temporary, -1, gid);
      } catch (error) {
        // An agent that is not root and not in the group serves its own user only.
        if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
      }
    }
    chmodSync(temporary, 0o660);
    renameSync(temporary, path);
  } catch (error) {
    server.close();
    rmSync(temporary, { force: true });
    throw error;
  }
  const { ino, dev } = lstatSync(path);
  return {
    path,
    release() {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now !== undefined && now.ino === ino && now.dev === dev) rmSync(path, { force: true });
    },
  };
}

/** Whether somebody accepts connections there. An owner too busy to accept in time counts as alive. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const finish = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(probeTimeoutMs, () => finish(true));
    socket.once('connect', () => finish(true));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') finish(false);
      else if (error.code === 'EAGAIN') finish(true);
      else reject(new Error(`can't tell whether the API socket "${path}" is in use: ${error.message}`));
    });
  });
}

function groupId(name: string, path = '/etc/group'): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  for (const line of text.split('\n')) {
    const [group, , gid] = line.split(':');
    if (group === name && gid !== undefined && /^\d+$/.test(gid)) return Number(gid);
  }
  return undefined;
}
