// SPDX-License-Identifier: Apache-2.0
/** What a node that is added is to be. Every text of it ends up in a file or a script of another machine, so it is checked here. */
import { isIP } from 'node:net';
import { AgentError } from '../errors.js';
import { parseHostPort } from '../target.js';
import type { Archive } from './archive.js';
import type { Layout } from './layout.js';

export interface Plan {
  readonly nodeName: string;
  /** "192.0.2.2:7400": where the others reach it. Gossip has the port after it. */
  readonly meshAddress: string;
  readonly archive: Archive;
  readonly layout: Layout;
}

const NODE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const PORT_MAX = 65_534;

/** Fails as AgentError 'invalid'. */
export function checkPlan({ nodeName, meshAddress }: Pick<Plan, 'nodeName' | 'meshAddress'>): void {
  if (!NODE_NAME.test(nodeName)) {
    throw wrong(
      `${JSON.stringify(nodeName.slice(0, 80))} is no name of a node: expected letters, digits, ".", "_" and "-"`,
    );
  }
  const address = parseHostPort(meshAddress);
  if (address === undefined || isIP(address.host) === 0 || address.port > PORT_MAX) {
    const expected = 'expected IP:PORT, as 192.0.2.2:7400 or [2001:db8::2]:7400; the port after it is used as well';
    throw wrong(`${JSON.stringify(meshAddress.slice(0, 80))} is no address of a node: ${expected}`);
  }
  if (/^(?:0\.0\.0\.0|::|127\..*|::1)$/.test(address.host)) {
    throw wrong(`${address.host} is no address by which other machines reach it: expected that of an interface`);
  }
}

function wrong(message: string): AgentError {
  return new AgentError('invalid', message, [], undefined);
}

/** TCP and UDP. */
export function portsOf(meshAddress: string): readonly number[] {
  const port = parseHostPort(meshAddress)?.port;
  return port === undefined ? [] : [port, port + 1];
}
