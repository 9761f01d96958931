// SPDX-License-Identifier: Apache-2.0
/**
 * A caller as one node tells another of it when it passes a call on (decision 27): who it is, how that was established, and
 * what somebody like that is for. URL-encoded text, of which there is one form only:
 *
 *   v=1&name=user%3Aalice&via=session&role=owner&source=192.0.2.9&cluster=eu&service=web
 *
 * It is believed as far as its node is, which makes users and changes the configuration of all nodes at will. What is
 * passed on besides ends at isRelayable(): keys, tokens, members and passwords are asked of a node itself, whoever calls.
 */
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { isRead } from './authorize.js';
import { isAccessName, scopeFault } from './names.js';
import { type Principal, ROLES, type Via } from './principal.js';

export interface RelayedCaller {
  /** Without its session, which is no concern of the other node's. */
  readonly principal: Principal;
  /** IP address that it has come from; empty: the machine of the node that tells. */
  readonly source: string;
}

/** More than a scope of 1,000 names of 20 characters takes; a header can't be much longer. */
export const RELAYED_MAX_CHARACTERS = 32_768;

const VERSION = '1';
const VIAS: readonly Via[] = ['socket', 'loopback', 'certificate', 'session', 'api-key'];
const NAME_MAX_CHARACTERS = 128;
/** Controls, formats and separators of lines: names go into logs and onto terminals. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;
const SOURCE = /^(?:[0-9A-Fa-f:.]{2,45})?$/;

/** Beside what only reads. */
const RELAYED: ReadonlySet<string> = new Set(
  [
    NodeService.method.drain,
    NodeService.method.undrain,
    AuditService.method.listAuditRecords,
    AuditService.method.verifyAudit,
  ].map((method) => `${method.parent.typeName}/${method.name}`),
);

/** Two-way streams that tell of the agent that is asked, whichever it is. */
const OWN = /^grpc\.reflection\./;

/**
 * Whether a node passes the call on, and another takes it so. method: "marcher.v1.NodeService/Drain". What changes the
 * configuration is not passed on: any node takes it for all.
 */
export function isRelayable(method: string): boolean {
  return RELAYED.has(method) || (isRead(method) && !OWN.test(method));
}

/** As the history, the audit log and logs name it: "user:alice via node-a". */
export function relayedAuthor({ name }: Principal, node: string): string {
  return `${name} via ${node}`;
}

/** fault: why it can't be told of. */
export function encodeRelayed(caller: RelayedCaller): { readonly text: string } | { readonly fault: string } {
  const fault = faultOf(caller);
  if (fault !== undefined) return { fault };
  const text = written(caller);
  if (text.length <= RELAYED_MAX_CHARACTERS) return { text };
  return { fault: `its scope takes ${text.length} characters: expected at most ${RELAYED_MAX_CHARACTERS}` };
}

/** Of whatever another node has sent. */
export function decodeRelayed(text: string): RelayedCaller | { readonly fault: string } {
  if (text.length > RELAYED_MAX_CHARACTERS) {
    return { fault: `it has ${text.length} characters: expected at most ${RELAYED_MAX_CHARACTERS}` };
  }
  const fields = new URLSearchParams(text);
  const version = fields.get('v');
  if (version !== VERSION) return { fault: `its version is ${excerpt(version ?? '')}: expected ${VERSION}` };
  const [via, role] = [VIAS.find((one) => one === fields.get('via')), ROLES.find((one) => one === fields.get('role'))];
  if (via === undefined) return { fault: `via is ${excerpt(fields.get('via') ?? '')}: expected ${VIAS.join(', ')}` };
  if (role === undefined)
    return { fault: `role is ${excerpt(fields.get('role') ?? '')}: expected ${ROLES.join(', ')}` };
  const own = { clusters: fields.getAll('cluster'), services: fields.getAll('service') };
  const principal: Principal = { name: fields.get('name') ?? '', via, role, scope: role === 'owner' ? own : 'all' };
  const caller = { principal, source: fields.get('source') ?? '' };
  const fault = faultOf(caller);
  if (fault !== undefined) return { fault };
  // What is there twice, or is no field, would be read differently by another version.
  return written(caller) === text ? caller : { fault: 'it has other fields than those, or in another form' };
}

function written({ principal, source }: RelayedCaller): string {
  const { name, via, role, scope } = principal;
  const fields = new URLSearchParams({ v: VERSION, name, via, role, source });
  // Others than owners are for everything.
  const { clusters, services } = role === 'owner' && scope !== 'all' ? scope : { clusters: [], services: [] };
  for (const cluster of clusters) fields.append('cluster', cluster);
  for (const service of services) fields.append('service', service);
  return fields.toString();
}

function faultOf({ principal, source }: RelayedCaller): string | undefined {
  const { name, via, role, scope } = principal;
  if (name === '' || name.length > NAME_MAX_CHARACTERS || !name.isWellFormed() || UNPRINTABLE.test(name)) {
    return `name is ${excerpt(name)}: expected 1 to ${NAME_MAX_CHARACTERS} printable characters`;
  }
  if (!isNamedFor(via, name)) return `name is ${excerpt(name)}, which nobody has by ${via}`;
  if (!SOURCE.test(source)) return `source is ${excerpt(source)}: expected an IP address`;
  if (via === 'socket' || via === 'loopback') {
    return role === 'administrator' ? undefined : `role is ${role}, which nobody has by ${via}`;
  }
  if (role !== 'owner') return undefined;
  return scopeFault(role, scope === 'all' ? { clusters: [], services: [] } : scope);
}

/** That somebody at a socket is taken for a user of the mesh is out of the question. */
function isNamedFor(via: Via, name: string): boolean {
  const [, prefix, rest = ''] = /^(user:|key:)?(.*)$/s.exec(name) ?? [];
  switch (via) {
    case 'session':
    case 'certificate':
      return prefix === 'user:' && isAccessName(rest);
    case 'api-key':
      return prefix === 'key:' && isAccessName(rest);
    case 'socket':
    case 'loopback':
      return prefix === undefined;
  }
}

function excerpt(text: string): string {
  return JSON.stringify(text.slice(0, 40));
}
