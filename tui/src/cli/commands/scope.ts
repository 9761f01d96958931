// SPDX-License-Identifier: Apache-2.0
/** Roles and scopes on the command line, and as they are shown. */
import { AccessRole, type Scope } from '@marcher/proto/marcher/v1/access_service_pb';
import { oneOf } from '../session.js';

export interface ScopeOptions {
  readonly cluster?: readonly string[];
  readonly service?: readonly string[];
}

const roles = {
  administrator: AccessRole.ADMINISTRATOR,
  owner: AccessRole.OWNER,
  viewer: AccessRole.VIEWER,
} as const;

export function roleOf(text: string): AccessRole {
  return roles[oneOf(text, 'the role', Object.keys(roles) as (keyof typeof roles)[])];
}

export function roleText(role: AccessRole): string {
  return (AccessRole[role] ?? String(role)).toLowerCase();
}

export function scopeOf({ cluster = [], service = [] }: ScopeOptions): { clusters: string[]; services: string[] } {
  return { clusters: [...cluster], services: [...service] };
}

/** "cluster eu, us; service web"; "-": everything that the role is for. */
export function scopeText(scope: Scope | undefined): string {
  const { clusters = [], services = [] } = scope ?? {};
  const parts: string[] = [];
  if (clusters.length > 0) parts.push(`cluster ${clusters.join(', ')}`);
  if (services.length > 0) parts.push(`service ${services.join(', ')}`);
  return parts.join('; ') || '-';
}
