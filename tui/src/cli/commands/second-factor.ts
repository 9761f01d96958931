// SPDX-License-Identifier: Apache-2.0
/** Authenticators and recovery codes of users. What is shown here is shown nowhere else. */
import { hasUnicode } from '../../locale.js';
import { usage } from '../failure.js';
import { writeValue } from '../output/structured.js';
import { createStyle, printable } from '../output/style.js';
import { askSecret } from '../secret-input.js';
import type { Session, TargetOptions } from '../session.js';
import { asked } from './mesh.js';
import { passwordOf, type TextOptions } from './users.js';

interface PasswordOptions {
  readonly passwordFile?: string;
}

export async function totp(
  session: Session,
  options: TargetOptions & PasswordOptions & { readonly remove?: boolean },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  if (options.remove === true) {
    await asked(agent.access.resetSecondFactor({ name }, session.call(options)));
    await session.write(`User ${printable(name)} has no second factor any more.\n`);
    return;
  }
  // The code is typed once the secret has been seen.
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw usage('enrolling asks for a code of the authenticator, and standard input or error is no terminal');
  }
  const password = await passwordOf(options.passwordFile, name);
  const { secret, uri } = await asked(agent.access.enrolTotp({ name, password }, session.call(options)));
  await session.write(`Secret  ${printable(secret)}\nURI     ${printable(uri)}\n`);
  // On the terminal alone: whoever keeps what this prints keeps the text.
  const isShown = hasUnicode(process.env);
  if (isShown) {
    const { qrLines } = await import('../output/qr-code.js');
    const { enabled } = createStyle(process.stderr, process.env);
    process.stderr.write(`${qrLines(uri, enabled).join('\n')}\n`);
  }
  process.stderr.write(
    `Give it to the authenticator, by hand or as ${isShown ? 'this QR code' : 'a QR code of the URI'}.\n`,
  );
  const code = await askSecret('The code that it shows now', 'be there');
  const request = { name, code: code.trim() };
  const { recoveryCodes: codes } = await asked(agent.access.confirmTotp(request, session.call(options)));
  process.stderr.write(`From now on ${printable(name)} logs in with a code.\n`);
  await written(session, codes);
}

export async function recoveryCodes(
  session: Session,
  options: TextOptions & PasswordOptions,
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const password = await passwordOf(options.passwordFile, name);
  const { recoveryCodes: codes } = await asked(
    agent.access.createRecoveryCodes({ name, password }, session.call(options)),
  );
  if (options.output === 'text') await written(session, codes);
  else await writeValue(session, options.output, { name, recoveryCodes: codes });
}

async function written(session: Session, codes: readonly string[]): Promise<void> {
  await session.write(codes.map((code) => `${printable(code)}\n`).join(''));
  process.stderr.write('Each of these recovery codes is good once in the place of a code: keep them elsewhere.\n');
}
