// SPDX-License-Identifier: Apache-2.0
/** Users of the mesh: listed, created, changed, removed. */
import type { AgentClient } from '@marcher/client';
import { type User, UserSchema } from '@marcher/proto/marcher/v1/access_service_pb';
import { confirm } from '../confirm.js';
import { clock, timeMs } from '../output/quantity.js';
import { writeMessage, writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import { askSecret, newPassword, readSecretFile } from '../secret-input.js';
import type { Session, TargetOptions } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';
import { roleOf, roleText, type ScopeOptions, scopeOf, scopeText } from './scope.js';

export interface TextOptions extends TargetOptions {
  readonly output: 'text' | 'json' | 'yaml';
}

export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { users } = await agent.access.listUsers({}, session.call(options));
  if (await writeMessages(session, options, UserSchema, users)) return;
  await writeTable(session, columns, users, 'users');
}

const columns: Column<User>[] = [
  { title: 'NAME', value: ({ name }) => name },
  { title: 'ROLE', value: ({ role }) => roleText(role) },
  { title: 'SCOPE', value: ({ scope }) => scopeText(scope) },
  { title: 'PASSWORD', value: ({ hasPassword }) => (hasPassword ? 'yes' : 'no') },
  {
    title: 'TOTP',
    value: ({ hasSecondFactor, recoveryCodesLeft }) =>
      hasSecondFactor ? `yes, ${recoveryCodesLeft} recovery codes` : 'no',
  },
  { title: 'CREATED', value: ({ created }) => clock(timeMs(created)) },
  { title: 'BY', value: ({ createdBy }) => createdBy || '-' },
];

/** password: false: of --no-password. */
export async function create(
  session: Session,
  options: TextOptions &
    ScopeOptions & { readonly role: string; readonly password?: boolean; readonly passwordFile?: string },
  name: string,
): Promise<undefined> {
  const password = options.password === false ? '' : await newPassword(options.passwordFile, name);
  const agent = await session.agent(options);
  const request = { name, role: roleOf(options.role), scope: scopeOf(options), password };
  await written(session, options, (await asked(agent.access.createUser(request, session.call(options)))).user);
}

export async function setRole(
  session: Session,
  options: TextOptions & ScopeOptions,
  name: string,
  role: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const request = { name, role: roleOf(role), scope: scopeOf(options) };
  await written(session, options, (await asked(agent.access.setRole(request, session.call(options)))).user);
}

async function written(session: Session, options: TextOptions, user: User | undefined): Promise<void> {
  if (user === undefined || (await writeMessage(session, options, UserSchema, user))) return;
  const scope = scopeText(user.scope);
  const within = scope === '-' ? '' : `, of ${printable(scope)}`;
  await session.write(`User ${printable(user.name)} is ${roleText(user.role)}${within}.\n`);
}

export async function setPassword(
  session: Session,
  options: TextOptions & { readonly passwordFile?: string; readonly resetTotp?: boolean },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const own = await isSelf(agent, name, call);
  const currentPassword = own ? await askSecret(`Password of ${name} until now`, 'be there') : '';
  const password = await newPassword(options.passwordFile, name);
  const request = { name, password, currentPassword, resetSecondFactor: options.resetTotp === true };
  await asked(agent.access.setPassword(request, call));
  await said(session, options, name, `User ${name} has another password, and no session any more.`);
}

/** Of oneself the password before is asked for. */
async function isSelf(agent: AgentClient, name: string, call: { timeoutMs: number }): Promise<boolean> {
  return (await agent.access.whoAmI({}, call)).name === `user:${name}`;
}

export async function logout(session: Session, options: TextOptions, name: string): Promise<undefined> {
  const agent = await session.agent(options);
  await asked(agent.access.revokeSessions({ name }, session.call(options)));
  await said(session, options, name, `User ${name} has no session any more.`);
}

export async function remove(
  session: Session,
  options: TextOptions & { readonly yes?: boolean },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  if (options.yes !== true) await confirm(`Remove user ${name}, with its sessions?`);
  await asked(agent.access.removeUser({ name }, session.call(options)));
  await said(session, options, name, `User ${name} is removed.`);
}

async function said(session: Session, options: TextOptions, name: string, text: string): Promise<void> {
  if (options.output === 'text') await session.write(`${printable(text)}\n`);
  else await writeValue(session, options.output, { name });
}

/** Of a user, for what takes it. */
export async function passwordOf(file: string | undefined, name: string): Promise<string> {
  return file === undefined ? await askSecret(`Password of ${name}`, 'give --password-file') : readSecretFile(file);
}
