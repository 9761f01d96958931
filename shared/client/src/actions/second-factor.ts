// SPDX-License-Identifier: Apache-2.0
/** An authenticator as a user's second factor, and recovery codes. What is shown is shown once, and the password is that user's. */
import type { AgentCalls } from '../fleet/contract.js';
import { commandLine } from './command.js';
import { type Deed, plainly, within } from './deed.js';

const KEEP = 'Each is good once in the place of a code: keep them elsewhere than the authenticator.';

/** Nothing counts before the code that follows: who goes away in between has changed nothing. */
export function enrolSecondFactor(calls: AgentCalls, name: string, password: string): Deed {
  const title = `enrol an authenticator as the second factor of user ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      'A secret is shown, once, for the authenticator. It counts when a code of it was typed, within ten minutes.',
      `From then on ${name} logs in with the password and a code. A second factor of before is replaced.`,
    ],
    lasting: `It is taken away by marcher user totp ${name} --remove.`,
    apply: async (signal) => {
      const { secret, uri } = await calls.access.enrolTotp({ name, password }, within(signal));
      return {
        text: `The authenticator of ${name} does not count yet: type a code of it.`,
        secret: {
          what: 'Secret of the authenticator, and the same as an address',
          text: `${secret}\n${uri}`,
          qr: uri,
          advice: 'Give it to the authenticator, by hand or as a QR code of the address.',
        },
        next: {
          title: `The authenticator of ${name}`,
          label: 'Code that it shows now',
          make: (code) => confirmSecondFactor(calls, name, code),
        },
      };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'totp', name]),
  };
}

function confirmSecondFactor(calls: AgentCalls, name: string, code: string): Deed {
  const title = `have user ${name} log in with a code from now on`;
  return {
    title,
    confirmation: plainly(title),
    consequences: ['Ten recovery codes are shown, once. Those of before are worthless then.'],
    lasting: `It is taken away by marcher user totp ${name} --remove.`,
    apply: async (signal) => {
      const { recoveryCodes } = await calls.access.confirmTotp({ name, code: code.trim() }, within(signal));
      return { text: `From now on ${name} logs in with a code.`, secret: shownCodes(name, recoveryCodes) };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'totp', name]),
  };
}

export function renewRecoveryCodes(calls: AgentCalls, name: string, password: string): Deed {
  const title = `make new recovery codes of user ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: ['Ten are shown, once. Those of before are worthless then.'],
    lasting: 'The codes of before are given back by nobody.',
    apply: async (signal) => {
      const { recoveryCodes } = await calls.access.createRecoveryCodes({ name, password }, within(signal));
      return { text: `User ${name} has other recovery codes.`, secret: shownCodes(name, recoveryCodes) };
    },
    asCommand: (target = {}) => commandLine(target, ['user', 'recovery-codes', name]),
  };
}

function shownCodes(name: string, codes: readonly string[]) {
  return { what: `Recovery codes of ${name}`, text: codes.join('\n'), advice: KEEP };
}
