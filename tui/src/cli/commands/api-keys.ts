// SPDX-License-Identifier: Apache-2.0
/** API keys: made, listed, rotated, revoked. A key is printed once, and by nothing but what makes or rotates it. */
import {
  type ApiKey,
  ApiKeySchema,
  CreateApiKeyResponseSchema,
  RotateApiKeyResponseSchema,
} from '@marcher/proto/marcher/v1/access_service_pb';
import { confirm } from '../confirm.js';
import { usage } from '../failure.js';
import { age, clock, timeMs } from '../output/quantity.js';
import { writeMessage, writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';
import { roleOf, roleText, type ScopeOptions, scopeOf, scopeText } from './scope.js';
import type { TextOptions } from './users.js';

export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { keys } = await agent.access.listApiKeys({}, session.call(options));
  if (await writeMessages(session, options, ApiKeySchema, keys)) return;
  await writeTable(session, columns(session), keys, 'keys');
}

function columns({ style }: Session): Column<ApiKey>[] {
  const now = Date.now();
  const left = (at: number | undefined): string => (at === undefined ? '-' : at > now ? age(at - now) : 'expired');
  return [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'ID', value: ({ id }) => id },
    { title: 'ROLE', value: ({ role }) => roleText(role) },
    { title: 'SCOPE', value: ({ scope }) => scopeText(scope) },
    {
      title: 'EXPIRES',
      value: ({ expires }) => left(timeMs(expires)),
      paint: (text) => (text === 'expired' ? style.red(text) : text),
    },
    { title: 'ROTATED', value: ({ rotated }) => clock(timeMs(rotated)) },
    { title: 'BEFORE', value: ({ previousUntil }) => left(timeMs(previousUntil)) },
    { title: 'BY', value: ({ createdBy }) => createdBy || '-' },
  ];
}

export async function create(
  session: Session,
  options: TextOptions & ScopeOptions & { readonly role: string; readonly ttl: string },
  name: string,
): Promise<undefined> {
  const lifetimeMs = BigInt(longTime(options.ttl, '--ttl', 3_600_000, 1_095 * DAY_MS));
  const agent = await session.agent(options);
  const request = { name, role: roleOf(options.role), scope: scopeOf(options), lifetimeMs };
  const made = await asked(agent.access.createApiKey(request, session.call(options)));
  if (await writeMessage(session, options, CreateApiKeyResponseSchema, made)) return;
  await session.write(`${made.key}\n`);
  process.stderr.write(
    `It is good until ${clock(timeMs(made.details?.expires))}, and is shown only here.\n` +
      `Make it worthless: marcher key revoke ${printable(made.details?.id ?? 'ID')}\n`,
  );
}

export async function rotate(
  session: Session,
  options: TextOptions & { readonly overlap: string },
  id: string,
): Promise<undefined> {
  const overlapMs = BigInt(longTime(options.overlap, '--overlap', 0, 30 * DAY_MS));
  const agent = await session.agent(options);
  const made = await asked(agent.access.rotateApiKey({ id, overlapMs }, session.call(options)));
  if (await writeMessage(session, options, RotateApiKeyResponseSchema, made)) return;
  await session.write(`${made.key}\n`);
  const until = timeMs(made.details?.previousUntil);
  const before = until === undefined ? 'is worthless from now on' : `stays good until ${clock(until)}`;
  process.stderr.write(`It is shown only here. The one before ${before}.\n`);
}

export async function revoke(
  session: Session,
  options: TextOptions & { readonly yes?: boolean },
  id: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  if (options.yes !== true) await confirm('Make this key worthless, for everybody who uses it?');
  await asked(agent.access.revokeApiKey({ id }, session.call(options)));
  if (options.output === 'text') await session.write(`Nobody is let in by key ${printable(id)} any more.\n`);
  else await writeValue(session, options.output, { id });
}

const DAY_MS = 86_400_000;
const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS };

/** Longer than calls may take: "90d", "12h", "30m"; in ms. */
function longTime(text: string, what: string, minMs: number, maxMs: number): number {
  const [, count = '', unit = 's'] = /^(\d{1,9})([smhd])?$/.exec(text) ?? [];
  const ms = count === '' ? Number.NaN : Number(count) * (UNITS[unit] ?? Number.NaN);
  if (ms >= minMs && ms <= maxMs) return ms;
  const from = minMs === 0 ? '0' : `${minMs / 3_600_000}h`;
  throw usage(`${what} is "${text}": expected a time such as 90d or 12h, from ${from} to ${maxMs / DAY_MS}d`);
}
