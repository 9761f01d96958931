// SPDX-License-Identifier: Apache-2.0
/**
 * What runs in a terminal of the console. The page names a kind; which program that is, with which arguments and variables, is said
 * here: never by the page.
 */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { PtyProgram } from '../../pty/messages.js';
import { ConsoleError } from '../ipc-server.js';

/** console: the terminal console of the mesh. shell: the person's, whose `marcher` is for that mesh. */
export type TerminalKind = 'console' | 'shell';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Person {
  readonly environment: Environment;
  readonly home: string;
  /** As the system's users have it; empty: it does not say. */
  readonly shell: string;
}

/** Where `marcher` may be besides in PATH: of the tree that this runs from, and of an installation. */
const INSTALLED = ['/usr/local/bin/marcher', '/opt/marcher/tui/bin/marcher'];
const SHELLS = ['/bin/bash', '/bin/sh'];

/**
 * What a program of a person needs of the console's own variables. Not those of Marcher, which may name secrets and other
 * targets, nor those of Electron and Node.js.
 */
const KEPT =
  /^(?:HOME|USER|LOGNAME|SHELL|PATH|LANG|LC_[A-Z]+|TZ|TMPDIR|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|XDG_[A-Z_]+|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK|EDITOR|VISUAL|PAGER|NO_COLOR|SystemRoot|ComSpec|USERPROFILE|APPDATA|LOCALAPPDATA)$/;

/** mesh: a name of the address book. own: `marcher` of this installation, if it has one. Fails as ConsoleError. */
export function programOf(kind: TerminalKind, mesh: string, person: Person, own: readonly string[]): PtyProgram {
  const { environment, home } = person;
  const marcher = firstExecutable([...own, ...inPath('marcher', environment), ...INSTALLED]);
  const cwd = home;
  const kept = Object.entries(environment).filter((entry): entry is [string, string] => {
    const [name, value] = entry;
    return value !== undefined && KEPT.test(name);
  });
  const terminal = { TERM: 'xterm-256color', COLORTERM: 'truecolor', MARCHER_TARGET: mesh };
  if (kind === 'console') {
    if (marcher === undefined) {
      throw new ConsoleError(
        'the program marcher was not found: install it, or put its directory into PATH; a shell works',
      );
    }
    return { file: marcher, args: ['-t', mesh], cwd, environment: { ...Object.fromEntries(kept), ...terminal } };
  }
  const shell = firstExecutable([person.shell, environment['SHELL'] ?? '', ...SHELLS]);
  if (shell === undefined) throw new ConsoleError('no shell was found: set SHELL to the path of one');
  const variables: Record<string, string> = { ...Object.fromEntries(kept), ...terminal, SHELL: shell };
  if (marcher !== undefined) variables['PATH'] = withDirectory(variables['PATH'] ?? '', path.dirname(marcher));
  return { file: shell, args: ['-l'], cwd, environment: variables };
}

function inPath(name: string, { PATH = '' }: Environment): string[] {
  return PATH.split(path.delimiter)
    .filter((directory) => path.isAbsolute(directory))
    .map((directory) => path.join(directory, name));
}

function withDirectory(value: string, directory: string): string {
  const parts = value.split(path.delimiter).filter((part) => part !== '');
  return parts.includes(directory) ? value : [...parts, directory].join(path.delimiter);
}

function firstExecutable(paths: readonly string[]): string | undefined {
  return paths.find((each) => {
    if (!path.isAbsolute(each)) return false;
    try {
      accessSync(each, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
