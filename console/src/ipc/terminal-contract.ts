// SPDX-License-Identifier: Apache-2.0
/** Of the Terminal page. It names what is to run; the program itself is the main process's to choose. */
import { z } from 'zod';
import { PIECE_MAX } from '../pty/messages.js';
import type { TERMINAL_METHODS } from './names.js';
import { meshName, type Shape, shape } from './shape.js';

export type TerminalMethod = (typeof TERMINAL_METHODS)[number];

const id = z.int().positive();
const size = z.object({ columns: z.int().min(2).max(1_000), rows: z.int().min(1).max(1_000) });

export const terminalContract = {
  /** Its id. */
  openTerminal: shape(z.tuple([size.extend({ kind: z.enum(['console', 'shell']), mesh: meshName })]), id),
  /** Waits for what is said next. Whoever does not read holds the program. */
  readTerminal: shape(
    z.tuple([id]),
    z.union([
      z.object({ text: z.string().min(1).max(PIECE_MAX) }),
      /** By this code, or 128 and a signal's number; the terminal is closed. */
      z.object({ ended: z.int() }),
    ]),
  ),
  writeTerminal: shape(z.tuple([id, z.string().min(1).max(PIECE_MAX)]), z.void()),
  resizeTerminal: shape(z.tuple([id, size]), z.void()),
  closeTerminal: shape(z.tuple([id]), z.void()),
} satisfies Record<TerminalMethod, Shape>;
