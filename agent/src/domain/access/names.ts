// SPDX-License-Identifier: Apache-2.0
/** Names of users and keys, and scopes: what they may look like. */
import type { Role, Scope } from './principal.js';

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const API_KEY_ID = /^[0-9a-f]{16}$/;
const OBJECT_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Scopes of before clusters had names by a rule. */
const CLUSTER_MAX_CHARACTERS = 253;
const SCOPE_MAX = 1_000;

export const NAME_EXPECTED = 'expected 1 to 64 of a-z, 0-9, ".", "_" and "-", the first a letter or a digit';

export function isAccessName(text: string): boolean {
  return NAME.test(text);
}

export function isApiKeyId(text: string): boolean {
  return API_KEY_ID.test(text);
}

/** What is wrong with it for that role; undefined: nothing. Without an object of its own an owner could do nothing. */
export function scopeFault(role: Role, { clusters, services }: Scope): string | undefined {
  const count = clusters.length + services.length;
  if (role !== 'owner') return count === 0 ? undefined : `a scope is for owners: ${role}s are for everything`;
  if (count === 0) return 'an owner needs a scope: name clusters or services';
  if (count > SCOPE_MAX) return `the scope has ${count} names: expected at most ${SCOPE_MAX}`;
  const wrong =
    services.find((name) => !OBJECT_NAME.test(name)) ??
    clusters.find((name) => name === '' || name.length > CLUSTER_MAX_CHARACTERS || !name.isWellFormed());
  if (wrong === undefined) return undefined;
  return `the scope has ${JSON.stringify(wrong.slice(0, 80))}, which is no name of a service or a cluster`;
}
