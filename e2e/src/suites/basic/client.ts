// SPDX-License-Identifier: Apache-2.0
/** Clients that are not ours: netcat and curl at the client's host. */
import type { World } from '../../harness/suite.js';

/** Sends the text, shuts its direction down (as netcat's -N does) and hands back all that came until the other end closed. */
export const netcat = async (
  world: World,
  address: string,
  port: number,
  text: string,
  ...flags: string[]
): Promise<string> => {
  const script = 'printf "$1" | { shift; exec nc "$@"; }';
  const { stdout } = await world.scope.run(
    ['sh', '-c', script, 'sh', text, '-w', '3', ...flags, address, String(port)],
    {
      netns: world.net.client.netns,
      timeoutMs: 10_000,
    },
  );
  return stdout;
};

export const curl = (world: World, ...args: string[]): Promise<string> =>
  world.scope.must(['curl', '--silent', '--show-error', '--fail', '--max-time', '10', ...args], {
    netns: world.net.client.netns,
  });
