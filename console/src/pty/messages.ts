// SPDX-License-Identifier: Apache-2.0
/** Between the main process and the process that has the ptys. Output goes one piece for one request, so whoever reads sets the pace. */

export interface PtyProgram {
  /** Absolute. */
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of it: nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface PtySize {
  readonly columns: number;
  readonly rows: number;
}

export type PtyRequest =
  | { readonly kind: 'open'; readonly id: number; readonly program: PtyProgram; readonly size: PtySize }
  | { readonly kind: 'read' | 'close'; readonly id: number }
  | { readonly kind: 'write'; readonly id: number; readonly text: string }
  | { readonly kind: 'resize'; readonly id: number; readonly size: PtySize };

/** To 'open' and to 'read', one each, in order. ended: after the last of the output. */
export type PtyReply =
  | { readonly kind: 'opened'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string }
  | { readonly kind: 'output'; readonly id: number; readonly text: string }
  | { readonly kind: 'ended'; readonly id: number; readonly code: number };

export const PTYS_MAX = 16;
/** Of UTF-16. */
export const PIECE_MAX = 65_536;
