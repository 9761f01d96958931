// SPDX-License-Identifier: Apache-2.0
/** The file form of a Guard: its shape, and the way to the message and back. */
import { create } from '@bufbuild/protobuf';
import {
  type Guard,
  GuardAction,
  type GuardRule,
  GuardSchema,
  SynCookiesMode,
} from '@marcher/proto/marcher/v1/model_pb';
import { z } from 'zod';
import { duration, flag, ports, present, size, text, whole, whole64 } from './file-field.js';
import type { ObjectFile } from './file-shape.js';
import { compact, type Fields, nonEmpty, text as shownText, when } from './file-value.js';
import { PROTOCOL, PROTOCOL_NAME, PROTOCOLS } from './protocol-form.js';
import { printDuration, printPorts, printSize, printWhole64 } from './scalar.js';

export const GUARD_ACTIONS = ['allow', 'deny', 'redirect'] as const;
export const GUARD_DEFAULTS = ['allow', 'deny'] as const;
export const SYN_COOKIES_MODES = ['auto', 'off', 'always'] as const;

/** A list that came out empty must not become a rule for everybody. */
const named = (what: string) => ({
  message: `is empty, and without it the rule would be for every ${what}`,
  params: { fix: `remove the rule; or leave the key out, for every ${what}` },
});
const isNotEmpty = (list: readonly unknown[] | undefined): boolean => list?.length !== 0;

const rule = z.strictObject({
  action: z.enum(GUARD_ACTIONS),
  sources: z.array(z.string()).refine(isNotEmpty, named('source')).optional(),
  protocol: z.enum(PROTOCOLS).optional(),
  ports: ports.refine(isNotEmpty, named('port')),
  unlimited: flag,
  redirect: z.strictObject({ device: text, address: text }).optional(),
});

export const guardShape = z.strictObject({
  name: z.string(),
  default: z.enum(GUARD_DEFAULTS).optional(),
  rules: z.array(rule).optional(),
  sourceLimits: z
    .strictObject({
      ipv4Prefix: whole,
      ipv6Prefix: whole,
      packetsPerSecond: whole64,
      bytesPerSecond: size,
      connectionsPerSecond: whole64,
      burst: duration,
    })
    .optional(),
  synCookies: z
    .strictObject({ mode: z.enum(SYN_COOKIES_MODES).optional(), onPerSecond: whole64, offPerSecond: whole64 })
    .optional(),
  drop: z.strictObject({ malformed: flag, badFragments: flag, martians: flag }).optional(),
  cluster: text,
});

type GuardShape = z.output<typeof guardShape>;
type Init = NonNullable<Parameters<typeof create<typeof GuardSchema>>[1]>;

const ACTION = { allow: GuardAction.ALLOW, deny: GuardAction.DENY, redirect: GuardAction.REDIRECT } as const;
const MODE = { auto: SynCookiesMode.AUTO, off: SynCookiesMode.OFF, always: SynCookiesMode.ALWAYS } as const;

export function guardFromFile(file: GuardShape): Guard {
  const { sourceLimits: limits, synCookies: cookies } = file;
  const init = present({
    name: file.name,
    defaultAction: when(file.default, (action) => ACTION[action]),
    rules: file.rules?.map((each) =>
      present({
        action: ACTION[each.action],
        sources: each.sources,
        protocol: when(each.protocol, (protocol) => PROTOCOL[protocol]),
        ports: each.ports,
        unlimited: each.unlimited,
        redirectDevice: each.redirect?.device,
        redirectAddress: each.redirect?.address,
      }),
    ),
    sourceLimits: when(limits, ({ burst, ...rest }) => present({ ...rest, burstMs: burst })),
    synCookies: when(cookies, ({ mode, ...rest }) => present({ ...rest, mode: when(mode, (one) => MODE[one]) })),
    dropMalformed: file.drop?.malformed,
    dropBadFragments: file.drop?.badFragments,
    dropMartians: file.drop?.martians,
    cluster: file.cluster,
  });
  return create(GuardSchema, init as Init);
}

const ACTION_NAME: Readonly<Record<number, string>> = {
  [GuardAction.ALLOW]: 'allow',
  [GuardAction.DENY]: 'deny',
  [GuardAction.REDIRECT]: 'redirect',
};
const MODE_NAME: Readonly<Record<number, string>> = {
  [SynCookiesMode.AUTO]: 'auto',
  [SynCookiesMode.OFF]: 'off',
  [SynCookiesMode.ALWAYS]: 'always',
};

export function guardRuleToFile(message: GuardRule): Fields {
  const { sources, ports: ranges, redirectDevice, redirectAddress } = message;
  return compact({
    action: ACTION_NAME[message.action],
    sources: sources.length === 0 ? undefined : [...sources],
    protocol: PROTOCOL_NAME[message.protocol],
    ports: ranges.length === 0 ? undefined : ranges.flatMap((range) => printPorts([range])),
    unlimited: message.unlimited ? true : undefined,
    redirect: nonEmpty(compact({ device: shownText(redirectDevice), address: shownText(redirectAddress) })),
  });
}

export function guardToFile(message: Guard): ObjectFile {
  const { rules, sourceLimits, synCookies } = message;
  return compact({
    name: message.name,
    default: ACTION_NAME[message.defaultAction],
    rules: rules.length === 0 ? undefined : rules.map(guardRuleToFile),
    sourceLimits: when(sourceLimits, (limits) =>
      compact({
        ipv4Prefix: limits.ipv4Prefix,
        ipv6Prefix: limits.ipv6Prefix,
        packetsPerSecond: when(limits.packetsPerSecond, printWhole64),
        bytesPerSecond: when(limits.bytesPerSecond, printSize),
        connectionsPerSecond: when(limits.connectionsPerSecond, printWhole64),
        burst: when(limits.burstMs, printDuration),
      }),
    ),
    synCookies: when(synCookies, (cookies) =>
      compact({
        mode: MODE_NAME[cookies.mode],
        onPerSecond: when(cookies.onPerSecond, printWhole64),
        offPerSecond: when(cookies.offPerSecond, printWhole64),
      }),
    ),
    drop: nonEmpty(
      compact({
        malformed: message.dropMalformed,
        badFragments: message.dropBadFragments,
        martians: message.dropMartians,
      }),
    ),
    cluster: shownText(message.cluster),
  }) as ObjectFile;
}
