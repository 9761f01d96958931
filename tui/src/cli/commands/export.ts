// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import type { AgentClient } from '@marcher/client';
import { type Configuration, ConfigurationSchema, printConfiguration } from '@marcher/model';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Session, TargetOptions } from '../session.js';
import { listServices } from './services.js';

const attemptsMax = 5;

/** Everything that is configured, as one file that `apply --prune` makes it again. */
export async function exportConfiguration(
  session: Session,
  options: TargetOptions & { readonly output: 'yaml' | 'json' },
): Promise<undefined> {
  const agent = await session.agent(options);
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const configuration = await read(agent, session.call(options));
    if (configuration === undefined) continue;
    await session.write(printConfiguration(configuration, options.output));
    return;
  }
  throw new Failure(ExitCode.conflict, 'the configuration changes faster than it can be read: try again');
}

/** undefined: it changed while it was read. */
async function read(agent: AgentClient, call: { timeoutMs: number }): Promise<Configuration | undefined> {
  const configuration = create(ConfigurationSchema);
  const { resources, version } = await agent.config.listObjects({}, call);
  for (const { object } of resources) {
    if (object?.object.case === 'guard') configuration.guards.push(object.object.value);
    else if (object?.object.case === 'trafficPolicy') configuration.trafficPolicies.push(object.object.value);
  }
  for await (const { service } of listServices(agent, {}, call)) {
    if (service !== undefined) configuration.services.push(service);
  }
  const after = await agent.config.listObjects({ kind: 'Guard', name: '-' }, call);
  return after.version === version ? configuration : undefined;
}
