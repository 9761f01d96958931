// SPDX-License-Identifier: Apache-2.0
import { usage } from '../failure.js';
import { plural } from '../output/quantity.js';
import type { Session, TargetOptions } from '../session.js';

export async function drain(
  session: Session,
  options: TargetOptions,
  service?: string,
  backend?: string,
): Promise<undefined> {
  const target = whole(service, backend, 'drain');
  const agent = await session.agent(options);
  const { connections } = await agent.node.drain(target, session.call(options));
  const rest = connections === 0n ? 'no connections are open' : `${plural(connections, 'connection')} may finish`;
  await session.write(`${describe(target, options)} takes no new connections; ${rest}.\n`);
}

export async function undrain(
  session: Session,
  options: TargetOptions,
  service?: string,
  backend?: string,
): Promise<undefined> {
  const target = whole(service, backend, 'undrain');
  const agent = await session.agent(options);
  await agent.node.undrain(target, session.call(options));
  await session.write(`${describe(target, options)} takes new connections again.\n`);
}

function whole(
  service: string | undefined,
  backend: string | undefined,
  verb: string,
): { service: string; backend: string } {
  if (service !== undefined && backend === undefined) {
    throw usage(
      `${verb} ${service}: the backend is missing: expected "marcher ${verb} ${service} BACKEND", or "marcher ${verb}" for the ` +
        `node; "marcher get backends ${service}" lists them`,
    );
  }
  return { service: service ?? '', backend: backend ?? '' };
}

function describe({ service, backend }: { service: string; backend: string }, { node }: TargetOptions): string {
  if (service === '') return node === undefined ? 'The node' : `Node ${node}`;
  return `Backend ${backend} of service ${service}${node === undefined ? '' : ` at node ${node}`}`;
}
