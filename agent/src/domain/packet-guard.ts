// SPDX-License-Identifier: Apache-2.0
/** From all guards of a node to the one that the packet tiers obey (marcher.packet.v1.Guard). */
import { create } from '@bufbuild/protobuf';
import { type Guard, GuardAction, type GuardRule, Protocol, SynCookiesMode } from '@marcher/model';
import {
  GuardRuleSchema,
  GuardSchema,
  type Guard as PacketGuard,
  GuardAction as PacketGuardAction,
  type GuardRule as PacketGuardRule,
  Transport,
} from '@marcher/proto/marcher/packet/v1/packet_pb';
import { parseIp, parsePrefix } from './address.js';
import { DEFAULTS } from './defaults.js';

const ACTION = {
  [GuardAction.UNSPECIFIED]: PacketGuardAction.UNSPECIFIED,
  [GuardAction.ALLOW]: PacketGuardAction.ALLOW,
  [GuardAction.DENY]: PacketGuardAction.DENY,
  [GuardAction.REDIRECT]: PacketGuardAction.REDIRECT,
} as const;

const TRANSPORT = {
  [Protocol.UNSPECIFIED]: Transport.UNSPECIFIED,
  [Protocol.TCP]: Transport.TCP,
  [Protocol.UDP]: Transport.UDP,
} as const;

const NO_BYTES = new Uint8Array(0);

function packetRule(guard: string, position: number, rule: GuardRule): PacketGuardRule {
  return create(GuardRuleSchema, {
    guard,
    position,
    action: ACTION[rule.action],
    sources: rule.sources.map((text) => {
      const prefix = parsePrefix(text);
      if (typeof prefix === 'string') throw new Error(`not a prefix: ${text}`);
      return prefix;
    }),
    transport: TRANSPORT[rule.protocol],
    ports: rule.ports.map(({ first, last }) => ({ first, last })),
    unlimited: rule.unlimited,
    redirectDevice: rule.redirectDevice,
    redirectAddress: rule.redirectAddress === '' ? NO_BYTES : (parseIp(rule.redirectAddress) ?? NO_BYTES),
  });
}

/**
 * undefined: there are no guards, and nothing is dropped. The guards are valid together: what may stand in one of them only
 * does. Their order makes no difference to what is decided, but to the bytes.
 */
export function packetGuard(guards: readonly Guard[]): PacketGuard | undefined {
  if (guards.length === 0) return undefined;
  const from = <T>(of: (guard: Guard) => T | undefined): T | undefined => {
    for (const guard of guards) {
      const value = of(guard);
      if (value !== undefined) return value;
    }
    return undefined;
  };
  const limits = from(({ sourceLimits }) => sourceLimits);
  const cookies = from(({ synCookies }) => synCookies);
  return create(GuardSchema, {
    rules: guards.flatMap(({ name, rules }) => rules.map((rule, i) => packetRule(name, i, rule))),
    denyByDefault: guards.some(({ defaultAction }) => defaultAction === GuardAction.DENY),
    dropMalformed: from(({ dropMalformed }) => dropMalformed) ?? true,
    dropBadFragments: from(({ dropBadFragments }) => dropBadFragments) ?? true,
    dropMartians: from(({ dropMartians }) => dropMartians) ?? true,
    ...(limits === undefined
      ? {}
      : {
          limits: {
            ipv4Prefix: limits.ipv4Prefix ?? DEFAULTS.guardIpv4Prefix,
            ipv6Prefix: limits.ipv6Prefix ?? DEFAULTS.guardIpv6Prefix,
            packetsPerSecond: limits.packetsPerSecond ?? 0n,
            bytesPerSecond: limits.bytesPerSecond ?? 0n,
            connectionsPerSecond: limits.connectionsPerSecond ?? 0n,
            burstMs: BigInt(limits.burstMs ?? DEFAULTS.guardBurstMs),
          },
        }),
    ...(cookies?.mode === SynCookiesMode.OFF
      ? {}
      : {
          synCookies: {
            always: cookies?.mode === SynCookiesMode.ALWAYS,
            onPerSecond: cookies?.onPerSecond ?? DEFAULTS.synCookiesOnPerSecond,
            offPerSecond: cookies?.offPerSecond ?? DEFAULTS.synCookiesOffPerSecond,
          },
        }),
  });
}
