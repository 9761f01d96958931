// SPDX-License-Identifier: Apache-2.0
/** A person's session at an agent on another machine: begun, ended, and who one is there. */
import { withSession } from '@marcher/client/address-book';
import { WhoAmIResponseSchema } from '@marcher/proto/marcher/v1/access_service_pb';
import { addressBook, chooseNamed, chooseTarget } from '../chosen-target.js';
import type { Terminal } from '../confirm.js';
import { usage } from '../failure.js';
import { openAgent } from '../opened-agent.js';
import { clock, timeMs } from '../output/quantity.js';
import { writeMessage, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import { askSecret, askText, readSecretFile } from '../secret-input.js';
import type { Session, TargetOptions } from '../session.js';
import { asked } from './mesh.js';
import { roleText, scopeText } from './scope.js';

const CONNECT_MS = 5_000;

interface TextOptions extends TargetOptions {
  readonly output: 'text' | 'json' | 'yaml';
}

export interface LoginOptions extends TextOptions {
  readonly user?: string;
  readonly passwordFile?: string;
}

export interface Answers {
  readonly name: string;
  readonly password: string;
  /** Empty: none. */
  readonly code: string;
}

export async function login(session: Session, options: LoginOptions): Promise<undefined> {
  if (options.tokenFile !== undefined) throw usage('--token-file is for other commands: a login gives a token');
  const { session: before, ...chosen } = await chooseNamed(options, process.env, 'a login');
  const { name: target } = chosen;
  const answers = await ask(options, target, before?.user ?? chosen.entry?.session?.user);
  // Not what a variable names: who logs in is who has the password.
  const { token: _other, ...credentials } = chosen.credentials;
  const agent = await openAgent({ ...chosen, credentials }, process.env, CONNECT_MS, false);
  try {
    const { beginSession } = await import('@marcher/client');
    const { name: user, password, code } = answers;
    const { timeoutMs } = session.call(options);
    const stored = await asked(beginSession(agent, { user, password, code }, timeoutMs, Date.now));
    await (await addressBook(process.env)).update((book) => withSession(book, target, stored));
    const ends = clock(stored.endsMs);
    if (options.output !== 'text') await writeValue(session, options.output, { target, user: answers.name, ends });
    else await session.write(`Logged in at ${target} as ${printable(answers.name)}, until ${ends} at the longest.\n`);
    // From now on this machine knows of nodes that were removed, if there are any.
    const opened = await openAgent({ ...chosen, credentials, session: stored }, process.env, CONNECT_MS);
    opened.close();
  } finally {
    agent.close();
  }
}

/** last: who was logged in before. A script gives name and password, and has no code: it should have an API key. */
export async function ask(
  { user, passwordFile }: Pick<LoginOptions, 'user' | 'passwordFile'>,
  target: string,
  last: string | undefined,
  terminal?: Terminal,
): Promise<Answers> {
  const question = last === undefined ? `User at ${target}` : `User at ${target} [${last}]`;
  const name = user ?? ((await askText(question, 'give --user', terminal)).trim() || last || '');
  if (name === '') throw usage('a user is needed: --user NAME');
  if (passwordFile !== undefined && (passwordFile === '-' || !isTerminal(terminal))) {
    return { name, password: readSecretFile(passwordFile), code: '' };
  }
  const password =
    passwordFile === undefined
      ? await askSecret(`Password of ${name}`, 'give --password-file', terminal)
      : readSecretFile(passwordFile);
  const code = await askSecret('Code, or a recovery code (Enter: no second factor)', 'be there', terminal);
  return { name, password, code: code.trim() };
}

function isTerminal({ input, output }: Terminal = { input: process.stdin, output: process.stderr }): boolean {
  return input.isTTY === true && output.isTTY === true;
}

export async function logout(session: Session, options: TextOptions): Promise<undefined> {
  const { session: _shown, ...chosen } = await chooseNamed(options, process.env, 'a logout');
  const { name, entry, credentials } = chosen;
  const { session: stored } = entry ?? {};
  if (stored === undefined) {
    await said(session, options, name, `There is no session at ${name}.`);
    return;
  }
  // First: whatever becomes of the call, this machine has it no more.
  await (await addressBook(process.env)).update((book) => withSession(book, name, undefined));
  if (stored.expiresMs > Date.now()) {
    const { token: _other, ...shown } = credentials;
    const agent = await openAgent(
      { ...chosen, credentials: { ...shown, token: stored.token } },
      process.env,
      CONNECT_MS,
    );
    try {
      const { endSession } = await import('@marcher/client');
      await endSession(agent, session.call(options).timeoutMs);
    } catch (error) {
      const when = clock(stored.expiresMs);
      process.stderr.write(
        `The session is forgotten here, but the mesh was not told: its token is good until ${when}.\n`,
      );
      throw error;
    } finally {
      agent.close();
    }
  }
  await said(session, options, name, `Logged out at ${name}.`);
}

async function said(session: Session, options: TextOptions, target: string, text: string): Promise<void> {
  if (options.output === 'text') await session.write(`${text}\n`);
  else await writeValue(session, options.output, { target });
}

export async function whoAmI(session: Session, options: TextOptions): Promise<undefined> {
  const { name: target } = await chooseTarget(options, process.env);
  const agent = await session.agent(options);
  const caller = await agent.access.whoAmI({}, session.call(options));
  if (await writeMessage(session, options, WhoAmIResponseSchema, caller)) return;
  const { formatTarget } = await import('@marcher/client');
  const where = target === undefined ? formatTarget(agent.target) : `${target} (${formatTarget(agent.target)})`;
  const scope = scopeText(caller.scope);
  const ends = timeMs(caller.sessionEnds);
  const lines = [
    `${printable(caller.name)} at ${where}`,
    `  by     ${printable(caller.via)}${ends === undefined ? '' : `, until ${clock(ends)} at the longest`}`,
    `  may    as ${roleText(caller.role)}${scope === '-' ? '' : `, of ${printable(scope)}`}`,
  ];
  await session.write(`${lines.join('\n')}\n`);
}
