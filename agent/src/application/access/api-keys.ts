// SPDX-License-Identifier: Apache-2.0
/** API keys: 256 random bits that are shown once; what is kept is their hash. */
import {
  API_KEY,
  type ApiKeyRecord,
  apiKeyRemovedWrite,
  apiKeySecretWrite,
  apiKeyWrites,
  formatApiKey,
} from '../../domain/access/api-key-record.js';
import { isAccessName, NAME_EXPECTED, scopeFault } from '../../domain/access/names.js';
import type { Role, Scope } from '../../domain/access/principal.js';
import { ACTION } from '../../domain/audit/actions.js';
import type { AccessMesh, AccessSecrets, ApiKeyView } from '../../ports/access.js';
import { ApplicationError, type Caller } from '../../ports/use-cases.js';
import { allKeys, findKey, type MeshOf, meshOrThrow } from './records.js';

export interface ApiKeysParts {
  readonly meshOf: MeshOf;
  readonly secrets: AccessSecrets;
  readonly nowMs: () => number;
}

export class ApiKeys {
  readonly #parts: ApiKeysParts;

  constructor(parts: ApiKeysParts) {
    this.#parts = parts;
  }

  list(): readonly ApiKeyView[] {
    return allKeys(meshOrThrow(this.#parts.meshOf)).map((key) => this.#viewOf(key));
  }

  create(
    { name, role, scope, lifetimeMs }: { name: string; role: Role; scope: Scope; lifetimeMs: number },
    caller: Caller,
  ): { readonly text: string; readonly key: ApiKeyView } {
    const { meshOf, secrets, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    if (!isAccessName(name)) throw new ApplicationError('invalid', `that is no name of a key: ${NAME_EXPECTED}`);
    const fault = scopeFault(role, scope);
    if (fault !== undefined) throw new ApplicationError('invalid', fault);
    if (!(lifetimeMs >= API_KEY.lifetimeMinMs && lifetimeMs <= API_KEY.lifetimeMaxMs)) {
      throw new ApplicationError('invalid', 'a key lasts from an hour to 3 years');
    }
    const all = allKeys(mesh);
    // Two of one name would be one in the history.
    if (all.some((key) => key.name === name)) {
      throw new ApplicationError('conflict', `there is a key ${name} already: rotate it, or choose another name`);
    }
    if (all.length >= API_KEY.countMax) {
      throw new ApplicationError('refused', `there are ${API_KEY.countMax} keys, which is the most: revoke some`);
    }
    const id = Buffer.from(secrets.random(API_KEY.idBytes)).toString('hex');
    const secret = secrets.random(API_KEY.secretBytes);
    const createdMs = nowMs();
    const times = { createdMs, rotatedMs: createdMs, expiresMs: createdMs + lifetimeMs };
    const hash = secrets.hash(secret);
    const record = { id, name, role, scope, createdBy: caller.author, ...times, hash, previous: undefined };
    mesh.write(caller, ACTION.createApiKey, `API key ${name} (${id}) created`, apiKeyWrites(record));
    return { text: formatApiKey(id, secret), key: this.#viewOf(record) };
  }

  rotate(
    { id, overlapMs }: { id: string; overlapMs: number },
    caller: Caller,
  ): { readonly text: string; readonly key: ApiKeyView } {
    const { meshOf, secrets, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    const before = keyOrThrow(mesh, id);
    if (!(overlapMs >= 0 && overlapMs <= API_KEY.overlapMaxMs)) {
      throw new ApplicationError('invalid', 'the secret before stays valid for at most 30 days');
    }
    const rotatedMs = nowMs();
    if (before.expiresMs <= rotatedMs) {
      throw new ApplicationError('refused', `API key ${before.name} (${id}) has expired: create another`);
    }
    const secret = secrets.random(API_KEY.secretBytes);
    const previous = overlapMs === 0 ? undefined : { hash: before.hash, untilMs: rotatedMs + overlapMs };
    const record = { ...before, hash: secrets.hash(secret), rotatedMs, previous };
    mesh.write(caller, ACTION.rotateApiKey, `API key ${before.name} (${id}) rotated`, [apiKeySecretWrite(record)]);
    return { text: formatApiKey(id, secret), key: this.#viewOf(record) };
  }

  revoke(id: string, caller: Caller): void {
    const mesh = meshOrThrow(this.#parts.meshOf);
    const { name } = keyOrThrow(mesh, id);
    mesh.write(caller, ACTION.revokeApiKey, `API key ${name} (${id}) revoked`, [apiKeyRemovedWrite(id)]);
  }

  #viewOf(key: ApiKeyRecord): ApiKeyView {
    const { id, name, role, scope, createdMs, createdBy, expiresMs, rotatedMs, previous } = key;
    const overlaps = previous !== undefined && previous.untilMs > this.#parts.nowMs();
    const view = { id, name, role, scope, createdMs, createdBy, expiresMs, rotatedMs };
    return overlaps ? { ...view, previousUntilMs: previous.untilMs } : view;
  }
}

function keyOrThrow(mesh: AccessMesh, id: string): ApiKeyRecord {
  const key = findKey(mesh, id);
  if (key !== undefined) return key;
  // What was given may be the key itself, by mistake: it is not repeated.
  throw new ApplicationError('not_found', 'there is no API key of that id: see marcher key list');
}
