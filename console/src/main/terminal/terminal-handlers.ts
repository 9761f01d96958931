// SPDX-License-Identifier: Apache-2.0
/** What the Terminal page may ask. */
import { homedir, userInfo } from 'node:os';
import type { Handlers } from '../../ipc/contract.js';
import type { TerminalMethod } from '../../ipc/terminal-contract.js';
import { type Environment, type Person, programOf } from './program.js';
import type { Terminals } from './terminals.js';

export interface TerminalParts {
  readonly terminals: Terminals;
  readonly environment: Environment;
  /** `marcher` of the tree that this runs from, as far as it has one. */
  readonly own: readonly string[];
}

export function terminalHandlers({ terminals, environment, own }: TerminalParts): Pick<Handlers, TerminalMethod> {
  return {
    openTerminal: async ({ kind, mesh, columns, rows }) =>
      await terminals.open(programOf(kind, mesh, person(environment), own), { columns, rows }),
    readTerminal: (id) => terminals.read(id),
    writeTerminal: (id, text) => terminals.write(id, text),
    resizeTerminal: (id, size) => terminals.resize(id, size),
    closeTerminal: (id) => terminals.close(id),
  };
}

function person(environment: Environment): Person {
  try {
    return { environment, home: homedir(), shell: userInfo().shell ?? '' };
  } catch {
    // One that the system's users do not have.
    return { environment, home: homedir(), shell: '' };
  }
}
