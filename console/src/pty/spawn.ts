// SPDX-License-Identifier: Apache-2.0
import { spawn } from '@lydell/node-pty';
import type { PtyProgram, PtySize } from './messages.js';
import type { Pty } from './ptys.js';

export function spawnPty({ file, args, cwd, environment }: PtyProgram, { columns, rows }: PtySize): Pty {
  return spawn(file, [...args], { name: 'xterm-256color', cols: columns, rows, cwd, env: { ...environment } });
}
