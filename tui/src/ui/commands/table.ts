// SPDX-License-Identifier: Apache-2.0
/** Commands beside those that open a view: what follows ":". */
export type CommandName =
  | 'quit'
  | 'help'
  | 'unlock'
  | 'lock'
  | 'pause'
  | 'resume'
  | 'retry'
  | 'sort'
  | 'drain'
  | 'undrain'
  | 'edit'
  | 'undo';

export interface CommandSpec {
  readonly name: CommandName;
  readonly aliases: readonly string[];
  /** Of what may follow; empty: nothing. */
  readonly argument: string;
  readonly help: string;
}

export const COMMANDS: readonly CommandSpec[] = [
  { name: 'quit', aliases: ['q', 'exit'], argument: '', help: 'ends the console' },
  { name: 'help', aliases: ['h'], argument: '', help: 'keys, views and commands' },
  { name: 'unlock', aliases: [], argument: '', help: 'lets this console change things, until :lock' },
  { name: 'lock', aliases: [], argument: '', help: 'nothing can be changed from here' },
  { name: 'pause', aliases: [], argument: '', help: 'holds the picture' },
  { name: 'resume', aliases: [], argument: '', help: 'lets it go on' },
  { name: 'retry', aliases: [], argument: '', help: 'asks all nodes that are stale again, now' },
  { name: 'sort', aliases: [], argument: 'COLUMN', help: 'sorts by a column; again: the other way round' },
  { name: 'drain', aliases: [], argument: '', help: 'the chosen or marked nodes or backends' },
  { name: 'undrain', aliases: [], argument: '', help: 'takes that back' },
  { name: 'edit', aliases: [], argument: '', help: 'the chosen object in $EDITOR' },
  { name: 'undo', aliases: [], argument: '', help: 'takes back the last change that was applied here' },
];
