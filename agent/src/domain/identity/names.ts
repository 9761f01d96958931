// SPDX-License-Identifier: Apache-2.0
/**
 * What identifies a mesh and a node, and how a certificate says it: as a SPIFFE id in a URI name
 * (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md), the mesh being the trust domain.
 *
 *   mesh id   128 random bits as 32 hex digits, so that two meshes of one name are never taken for each other
 *   node id   64 random bits as 16 hex digits, not zero; also the node of hybrid logical clocks
 *   user      an operator, by name: spiffe://MESH/user/NAME
 *   service   what clients call by the names beside it: spiffe://MESH/service/NAME, of its certificate
 *
 * What names one of them names no other: the paths differ, and one certificate has one such name.
 */
export interface NodeIdentity {
  readonly meshId: string;
  readonly nodeId: string;
}

export interface UserIdentity {
  readonly meshId: string;
  readonly user: string;
}

export const MESH_ID_BYTES = 16;
export const NODE_ID_BYTES = 8;

const MESH_ID = /^[0-9a-f]{32}$/;
const NODE_ID = /^(?!0{16})[0-9a-f]{16}$/;
const MESH_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const SPIFFE_NODE = /^spiffe:\/\/([0-9a-f]{32})\/node\/([0-9a-f]{16})$/;
const USER_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const SPIFFE_USER = /^spiffe:\/\/([0-9a-f]{32})\/user\/([a-z0-9._-]{1,64})$/;
const SPIFFE_DOMAIN = /^spiffe:\/\/([^/?#@:]{1,255})(?:[/?#]|$)/;
const SPIFFE_MESH = /^spiffe:\/\/([0-9a-f]{32})$/;

export function isMeshId(text: string): boolean {
  return MESH_ID.test(text);
}

export function isNodeId(text: string): boolean {
  return NODE_ID.test(text);
}

/** Names of meshes follow the rule for every object's name. */
export function isMeshName(text: string): boolean {
  return MESH_NAME.test(text);
}

/** Of a service's certificate. */
export function isCertificateName(text: string): boolean {
  return MESH_NAME.test(text);
}

/** As far as a certificate can name it. */
export function isUserName(text: string): boolean {
  return USER_NAME.test(text);
}

/** random: MESH_ID_BYTES from a secure source. */
export function meshIdFrom(random: Uint8Array): string {
  return hex(random, MESH_ID_BYTES);
}

/** random: NODE_ID_BYTES from a secure source; undefined when they are all zero, which is no node's id. */
export function nodeIdFrom(random: Uint8Array): string | undefined {
  const id = hex(random, NODE_ID_BYTES);
  return isNodeId(id) ? id : undefined;
}

/** As hybrid logical clocks number nodes. */
export function nodeNumber(nodeId: string): bigint {
  return BigInt(`0x${nodeId}`);
}

/** The id of such a number. */
export function nodeIdOf(node: bigint): string {
  return node.toString(16).padStart(16, '0');
}

export function nodeUri({ meshId, nodeId }: NodeIdentity): string {
  return `spiffe://${meshId}/node/${nodeId}`;
}

export function meshUri(meshId: string): string {
  return `spiffe://${meshId}`;
}

/** undefined: it names no node. */
export function parseNodeUri(uri: string): NodeIdentity | undefined {
  const [, meshId, nodeId] = SPIFFE_NODE.exec(uri) ?? [];
  return meshId !== undefined && nodeId !== undefined && isNodeId(nodeId) ? { meshId, nodeId } : undefined;
}

export function userUri({ meshId, user }: UserIdentity): string {
  return `spiffe://${meshId}/user/${user}`;
}

/** undefined: it names no user. */
export function parseUserUri(uri: string): UserIdentity | undefined {
  const [, meshId, user] = SPIFFE_USER.exec(uri) ?? [];
  return meshId !== undefined && user !== undefined && isUserName(user) ? { meshId, user } : undefined;
}

/** name: of its certificate, which follows the rule for every object's. */
export function serviceUri({ meshId, name }: { readonly meshId: string; readonly name: string }): string {
  return `spiffe://${meshId}/service/${name}`;
}

/** Of a root's certificate; undefined: it names no mesh. */
export function parseMeshUri(uri: string): string | undefined {
  return SPIFFE_MESH.exec(uri)?.[1];
}

/** Whatever the URI names there: the mesh it claims to be of, of other software too. */
export function trustDomain(uri: string): string | undefined {
  return SPIFFE_DOMAIN.exec(uri)?.[1];
}

function hex(bytes: Uint8Array, length: number): string {
  if (bytes.length !== length) throw new RangeError(`an id is made of ${length} random bytes, not of ${bytes.length}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
