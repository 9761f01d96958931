// SPDX-License-Identifier: Apache-2.0
/** Agents by SSH, and what that asks the person at the terminal: the key of a server, a passphrase, a password, a code. */
import type { SshTarget, Tunnels } from '@marcher/client';
import type { Questions } from '@marcher/client/ssh';
import type { Terminal } from './confirm.js';
import { printable } from './output/style.js';
import { askSecret, askText } from './secret-input.js';

const standard: Terminal = { input: process.stdin, output: process.stderr };
const NOBODY = 'make the connection work with a key of ssh-agent first';

/** Connected, so that questions are asked, and failures are told, before a call is made. Fails as AgentError or Failure. */
export async function connectBySsh(
  target: SshTarget,
  timeoutMs: number,
  mayAsk: boolean,
): Promise<Tunnels & { close(): void }> {
  const { SshTunnels } = await import('@marcher/client/ssh');
  const tunnels = new SshTunnels({ timeoutMs, ask: mayAsk ? sshQuestions() : {} });
  try {
    // What completes a command line can't wait for a login, either.
    await tunnels.connect(target, mayAsk ? undefined : AbortSignal.timeout(timeoutMs));
    return tunnels;
  } catch (error) {
    tunnels.close();
    throw error;
  }
}

/** Nobody is asked where there is no terminal. */
export function sshQuestions(terminal: Terminal = standard): Questions {
  const { input, output } = terminal;
  if (!input.isTTY || !output.isTTY) return {};
  const again = (isAgain: boolean): string => (isAgain ? ' (the one before was wrong)' : '');
  return {
    async confirmHostKey({ name, keyType, fingerprint, path }) {
      output.write(`No known_hosts file has the key of ${printable(name)}. It shows ${keyType} ${fingerprint}\n`);
      output.write(`Compare that with what its operator says. If it is the same, it is kept in ${printable(path)}.\n`);
      const answer = (await askText('Is it? Type yes, or the fingerprint', NOBODY, terminal)).trim();
      return answer === 'yes' || answer === fingerprint;
    },
    async passphrase(key) {
      return (await askSecret(`Passphrase of ${key.path}${again(key.again)}`, NOBODY, terminal)) || undefined;
    },
    async password({ user, host, again: isAgain }) {
      return (await askSecret(`Password of ${user} at ${host}${again(isAgain)}`, NOBODY, terminal)) || undefined;
    },
    async answers({ user, host, title, instructions, questions }) {
      const said = [title, instructions].filter((text) => text !== '').join(': ');
      if (said !== '') output.write(`${printable(`${user} at ${host}: ${said}`)}\n`);
      const answers: string[] = [];
      for (const { text, echo } of questions) {
        const question = text.replace(/[\s:]+$/, '') || 'Answer';
        answers.push(await (echo ? askText : askSecret)(question, NOBODY, terminal));
      }
      return answers;
    },
  };
}
