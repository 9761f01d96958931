// SPDX-License-Identifier: Apache-2.0
/** Users and keys as they are stored now. They are few, and read when they are asked for: nothing is to be kept in step. */
import { API_KEY_KIND, type ApiKeyRecord, unpackApiKey } from '../../domain/access/api-key-record.js';
import { isAccessName, isApiKeyId } from '../../domain/access/names.js';
import { USER_KIND, type UserRecord, unpackUser } from '../../domain/access/user-record.js';
import type { ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import type { AccessMesh } from '../../ports/access.js';
import { ApplicationError } from '../../ports/use-cases.js';

/** undefined: this node is in no mesh. */
export type MeshOf = () => AccessMesh | undefined;

/** Throws with what to do. */
export function meshOrThrow(meshOf: MeshOf): AccessMesh {
  const mesh = meshOf();
  if (mesh !== undefined) return mesh;
  const fix = 'make one of this node: start it with marcherd --mesh ADDRESS:7400, then marcher mesh init NAME';
  throw new ApplicationError('refused', `users and keys belong to a mesh, and this node is in none: ${fix}`);
}

export function findUser({ cells }: AccessMesh, name: string): UserRecord | undefined {
  if (!isAccessName(name)) return undefined;
  const values = valuesAt(cells, USER_KIND, name);
  return values && unpackUser(name, values);
}

export function userOrThrow(mesh: AccessMesh, name: string): UserRecord {
  const user = findUser(mesh, name);
  if (user !== undefined) return user;
  throw new ApplicationError(
    'not_found',
    `there is no user ${JSON.stringify(name.slice(0, 80))}: see marcher user list`,
  );
}

/** By name. */
export function allUsers({ cells }: AccessMesh): UserRecord[] {
  const found: UserRecord[] = [];
  for (const { id, groups } of objectsOfKind(cells, USER_KIND)) {
    const values = valuesOf(groups);
    const user = values && unpackUser(id, values);
    if (user !== undefined) found.push(user);
  }
  return found.sort((one, other) => (one.name < other.name ? -1 : 1));
}

export function findKey({ cells }: AccessMesh, id: string): ApiKeyRecord | undefined {
  if (!isApiKeyId(id)) return undefined;
  const values = valuesAt(cells, API_KEY_KIND, id);
  return values && unpackApiKey(id, values);
}

/** By name, then the oldest first. */
export function allKeys({ cells }: AccessMesh): ApiKeyRecord[] {
  const found: ApiKeyRecord[] = [];
  for (const { id, groups } of objectsOfKind(cells, API_KEY_KIND)) {
    const values = valuesOf(groups);
    const key = values && unpackApiKey(id, values);
    if (key !== undefined) found.push(key);
  }
  return found.sort((one, other) =>
    one.name === other.name ? one.createdMs - other.createdMs : one.name < other.name ? -1 : 1,
  );
}

function valuesAt(cells: ReplicaStore, kind: string, id: string): ReadonlyMap<string, Uint8Array> | undefined {
  return valuesOf(new Map(cells.object(kind, id).map((cell) => [cell.group, cell])));
}
