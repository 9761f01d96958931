// SPDX-License-Identifier: Apache-2.0
/**
 * The guard "operator", which the commands below `marcher guard` edit: what a person at the keyboard denies or allows
 * while it happens, beside the guards that come from files. A rule for each action, protocol and ports; prefixes are its
 * sources. Pure: from one guard to the next.
 */
import { isIP, isIPv6 } from 'node:net';
import { create, equals } from '@bufbuild/protobuf';
import {
  type Guard,
  GuardAction,
  type GuardRule,
  GuardRuleSchema,
  GuardSchema,
  type PortRange,
  type Protocol,
} from '@marcher/proto/marcher/v1/model_pb';

export const OPERATOR = 'operator';

/** Which packets of a source: of every port when there are none, of every protocol when it is unspecified. */
export interface Scope {
  readonly protocol: Protocol;
  readonly ports: readonly Pick<PortRange, 'first' | 'last'>[];
}

/** "203.0.113.7/32" and "203.0.113.7" are one, and so are the many ways to write an IPv6 address. */
export function canonicalPrefix(text: string): string {
  const slash = text.lastIndexOf('/');
  const address = slash === -1 ? text : text.slice(0, slash);
  const length = slash === -1 ? '' : text.slice(slash + 1);
  if (isIP(address) === 0 || address.includes('%')) return text;
  const canonical = isIPv6(address) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
  const whole = length === '' || length === (isIPv6(address) ? '128' : '32');
  return whole ? canonical : `${canonical}/${length}`;
}

function isOf(rule: GuardRule, { protocol, ports }: Scope): boolean {
  const text = (ranges: Scope['ports']) => ranges.map(({ first, last }) => `${first}-${last}`).join();
  return rule.protocol === protocol && text(rule.ports) === text(ports);
}

function without(rule: GuardRule, prefixes: ReadonlySet<string>): GuardRule | undefined {
  const sources = rule.sources.filter((source) => !prefixes.has(canonicalPrefix(source)));
  if (sources.length === rule.sources.length) return rule;
  // A rule without sources would be one for every source.
  return sources.length === 0 ? undefined : { ...rule, sources };
}

function copy(guard: Guard | undefined, rules: (GuardRule | undefined)[]): Guard {
  const kept = rules.filter((rule) => rule !== undefined);
  return { ...(guard ?? create(GuardSchema, { name: OPERATOR })), rules: kept };
}

/** These sources are allowed or denied from now on, whatever was said of the same packets of them before. */
export function decide(
  guard: Guard | undefined,
  prefixes: readonly string[],
  scope: Scope,
  verdict: { readonly action: GuardAction; readonly unlimited: boolean },
): Guard {
  const wanted = new Set(prefixes.map(canonicalPrefix));
  const same = (rule: GuardRule): boolean =>
    isOf(rule, scope) && rule.action === verdict.action && rule.unlimited === verdict.unlimited;
  const home = guard?.rules.find((rule) => same(rule) && rule.sources.length > 0);
  const rules = (guard?.rules ?? []).map((rule) => {
    if (rule !== home) return isOf(rule, scope) ? without(rule, wanted) : rule;
    const known = new Set(rule.sources.map(canonicalPrefix));
    return { ...rule, sources: [...rule.sources, ...[...wanted].filter((prefix) => !known.has(prefix))] };
  });
  if (home !== undefined) return copy(guard, rules);
  const ports = scope.ports.map(({ first, last }) => ({ first, last }));
  const added = create(GuardRuleSchema, { ...verdict, sources: [...wanted], protocol: scope.protocol, ports });
  return copy(guard, [...rules, added]);
}

/** Nothing is said of these sources any more; with a scope, of those packets of them. Tells which were not there. */
export function forget(
  guard: Guard | undefined,
  prefixes: readonly string[],
  scope: Scope | undefined,
): { guard: Guard | undefined; missing: string[] } {
  const wanted = new Set(prefixes.map(canonicalPrefix));
  const concerned = (guard?.rules ?? []).filter((rule) => scope === undefined || isOf(rule, scope));
  const there = new Set(concerned.flatMap((rule) => rule.sources.map(canonicalPrefix)));
  const missing = [...wanted].filter((prefix) => !there.has(prefix));
  if (guard === undefined) return { guard, missing };
  const left = copy(
    guard,
    guard.rules.map((rule) => (concerned.includes(rule) ? without(rule, wanted) : rule)),
  );
  return { guard: equals(GuardSchema, left, create(GuardSchema, { name: OPERATOR })) ? undefined : left, missing };
}

export function actionName(action: GuardAction): string {
  return (GuardAction[action] ?? String(action)).toLowerCase();
}
