// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Session, TargetOptions } from '../session.js';

export async function version(
  session: Session,
  options: TargetOptions & { agent?: boolean; output: 'text' | 'json' },
): Promise<undefined> {
  const { version: own } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  let remote: { agent: string; engine: string; node: string } | undefined;
  if (options.agent === true) {
    const status = await (await session.agent(options)).node.status({}, session.call(options));
    remote = { agent: status.version, engine: status.engine?.version ?? '', node: status.nodeName };
  }
  if (options.output === 'json') {
    await session.write(`${JSON.stringify({ client: own, runtime: process.version, ...remote }, null, 2)}\n`);
    return;
  }
  await session.write(`marcher ${own} (Node.js ${process.version})\n`);
  if (remote !== undefined)
    await session.write(`marcherd ${remote.agent}, engine ${remote.engine || 'not running'}, on ${remote.node}\n`);
}
