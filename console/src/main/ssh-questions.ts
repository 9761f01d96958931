// SPDX-License-Identifier: Apache-2.0
/**
 * What SSH asks the person, in the console's window. Passphrases of keys and passwords may be kept in the vault; codes and the
 * keys of servers are not (those are in known_hosts).
 */
import type { Questions } from '@marcher/client/ssh';
import type { KeptSecrets } from './kept-secrets.js';
import type { OpenQuestions } from './open-questions.js';

const TEXT_MAX = 1_000;
const LABEL_MAX = 300;

export function sshQuestions(questions: OpenQuestions, secrets: KeptSecrets): Questions {
  /** again: what was kept is wrong. */
  const secret = async (name: string, title: string, label: string, again: boolean): Promise<string | undefined> => {
    if (!again) {
      const kept = await secrets.get(name);
      if (kept !== undefined) return kept;
    }
    const answered = await questions.ask({
      title: short(title, LABEL_MAX),
      text: again ? ['The one before was wrong.'] : [],
      fields: [{ label, isSecret: true }],
      action: 'Go on',
      mayKeep: true,
    });
    const [given] = answered?.answers ?? [];
    if (given === undefined || given === '') return undefined;
    if (answered?.keep === true) await secrets.keep(name, given);
    return given;
  };
  return {
    async confirmHostKey({ name, host, port, keyType, fingerprint, path }) {
      const answered = await questions.ask({
        title: short(`Is that the key of ${name}?`, LABEL_MAX),
        text: [
          `No known_hosts file has a key of ${host}, port ${port}. It shows ${keyType}`,
          fingerprint,
          `Compare that with what its operator says. If it is the same, it is kept in ${path}. Nothing was sent to it yet.`,
        ].map((line) => short(line, TEXT_MAX)),
        fields: [],
        action: 'It is the same',
        mayKeep: false,
      });
      return answered !== undefined;
    },
    passphrase: ({ path, again }) => secret(`ssh-passphrase:${path}`, `Passphrase of ${path}`, 'Passphrase', again),
    password: ({ user, host, again }) =>
      secret(`ssh-password:${user}@${host}`, `Password of ${user} at ${host}`, 'Password', again),
    async answers({ user, host, title, instructions, questions: asked }) {
      if (asked.length === 0) return [];
      const answered = await questions.ask({
        title: short(`${user} at ${host}`, LABEL_MAX),
        text: [title, instructions].filter((line) => line !== '').map((line) => short(line, TEXT_MAX)),
        fields: asked.slice(0, 16).map(({ text, echo }) => ({ label: short(text, LABEL_MAX), isSecret: !echo })),
        action: 'Go on',
        mayKeep: false,
      });
      return answered?.answers;
    },
  };
}

function short(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 1)}…` : text;
}
