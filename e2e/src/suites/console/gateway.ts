// SPDX-License-Identifier: Apache-2.0
import path from 'node:path';
import { REPOSITORY, until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';

interface GatewayOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** In a session of its own, which has a share of the processor of its own. */
  readonly isApart?: boolean;
}

/** `npm run console:web`, built; gives the address with the token. */
export async function startGateway(world: World, target: string, options: GatewayOptions = {}): Promise<string> {
  const main = path.join(REPOSITORY, 'console/dist/gateway/main.js');
  const apart = options.isApart === true ? ['setsid'] : [];
  const { env } = options;
  const child = world.scope.spawn([...apart, process.execPath, main, '-t', target], env === undefined ? {} : { env });
  let said = '';
  for (const output of [child.stdout, child.stderr]) {
    output?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  return await until('the gateway to say where it is', async () => {
    const address = /http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]+/.exec(said)?.[0];
    if (address === undefined && child.exitCode !== null) throw new Error(`the gateway has ended: ${said}`);
    return address;
  });
}
