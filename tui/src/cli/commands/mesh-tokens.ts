// SPDX-License-Identifier: Apache-2.0
/** Join tokens: made, listed, taken back. A token's text is printed once, and by nothing but the command that makes it. */
import {
  CreateJoinTokenResponseSchema,
  type JoinToken,
  JoinTokenSchema,
  NodeRole,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { usage } from '../failure.js';
import { age, clock, timeMs } from '../output/quantity.js';
import { writeMessage, writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import { positiveSeconds, type Session, type TargetOptions } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';

interface TokenOptions extends TargetOptions {
  readonly ttl: string;
  readonly role: 'member' | 'authority';
  readonly cluster?: readonly string[];
  readonly output: 'text' | 'json' | 'yaml';
}

/** What an agent accepts, so that a mistake is told before one is asked. */
const TTL_MIN_S = 60;

export async function createToken(session: Session, options: TokenOptions): Promise<undefined> {
  const seconds = positiveSeconds(options.ttl, '--ttl');
  if (seconds < TTL_MIN_S) throw usage(`--ttl is "${options.ttl}": expected a time from 1m to 168h, which is 7 days`);
  const role = options.role === 'authority' ? NodeRole.AUTHORITY : NodeRole.MEMBER;
  const agent = await session.agent(options);
  const request = { role, lifetimeMs: Math.round(seconds * 1000), clusters: [...(options.cluster ?? [])] };
  const created = await asked(agent.mesh.createJoinToken(request, session.call(options)));
  if (await writeMessage(session, options, CreateJoinTokenResponseSchema, created)) return;
  await session.write(`${created.token}\n`);
  const { details } = created;
  const expires = clock(timeMs(details?.expires));
  process.stderr.write(
    `It lets one machine in as ${roleText(details?.role ?? role)}${intoText(details)}, once, until ${expires}, and is shown only here.\n` +
      'There, with the token in a file that nobody else can read:\n' +
      `  marcherd --mesh ADDRESS:7400 --join ${printable(created.address)} --join-token-file FILE\n` +
      `Take it back: marcher mesh tokens revoke ${printable(details?.id ?? 'ID')}\n`,
  );
}

/** ", into eu, us"; nothing where it is for no cluster. */
function intoText(details: JoinToken | undefined): string {
  const clusters = details?.clusters ?? [];
  return clusters.length === 0 ? '' : `, into ${clusters.map(printable).join(', ')}`;
}

export async function listTokens(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { tokens } = await agent.mesh.listJoinTokens({}, session.call(options));
  if (await writeMessages(session, options, JoinTokenSchema, tokens)) return;
  const clustered = tokens.some(({ clusters }) => clusters.length > 0);
  await writeTable(session, columns(session, clustered), tokens, 'join tokens');
}

/** clustered: some are for a cluster. */
function columns({ style }: Session, clustered: boolean): Column<JoinToken>[] {
  const now = Date.now();
  return [
    { title: 'ID', value: ({ id }) => id },
    { title: 'ROLE', value: ({ role }) => roleText(role) },
    ...(clustered ? [{ title: 'CLUSTERS', value: ({ clusters }: JoinToken) => clusters.join(', ') || '-' }] : []),
    {
      title: 'STATE',
      value: (token) => stateText(token, now),
      paint: (text) => (text.startsWith('open') ? style.green(text) : text),
    },
    { title: 'CREATED', value: ({ created }) => clock(timeMs(created)) },
    { title: 'BY', value: ({ createdBy }) => createdBy || '-' },
    { title: 'USED-BY', value: ({ usedBy }) => usedBy || '-' },
  ];
}

function stateText({ usedBy, expires }: JoinToken, now: number): string {
  if (usedBy !== '') return 'used';
  const left = (timeMs(expires) ?? now) - now;
  return left > 0 ? `open for ${age(left)}` : 'expired';
}

function roleText(role: NodeRole): string {
  return (NodeRole[role] ?? String(role)).toLowerCase();
}

export async function revokeToken(
  session: Session,
  options: TargetOptions & { readonly output: 'text' | 'json' | 'yaml' },
  id: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  await asked(agent.mesh.revokeJoinToken({ id }, session.call(options)));
  if (options.output === 'text') await session.write(`Nobody can join by token ${printable(id)} any more.\n`);
  else await writeValue(session, options.output, { id });
}
