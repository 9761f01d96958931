// SPDX-License-Identifier: Apache-2.0
/** Commands beside those that open a view: what follows ":". */
export type CommandName =
  | 'quit'
  | 'help'
  | 'unlock'
  | 'lock'
  | 'login'
  | 'pause'
  | 'resume'
  | 'retry'
  | 'sort'
  | 'drain'
  | 'undrain'
  | 'edit'
  | 'undo'
  | 'actions'
  | 'new'
  | 'copy'
  | 'delete'
  | 'import'
  | 'renew'
  | 'revoke'
  | 'rotate'
  | 'role'
  | 'password'
  | 'totp'
  | 'enrol'
  | 'codes'
  | 'logout'
  | 'token'
  | 'assign'
  | 'unassign'
  | 'revert'
  | 'seek'
  | 'speed';

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
  { name: 'login', aliases: [], argument: '', help: 'begins another session, when this one ends or is over' },
  { name: 'pause', aliases: [], argument: '', help: 'holds the picture' },
  { name: 'resume', aliases: [], argument: '', help: 'lets it go on' },
  { name: 'retry', aliases: [], argument: '', help: 'asks all nodes that are stale again, now' },
  { name: 'sort', aliases: [], argument: 'COLUMN', help: 'sorts by a column; again: the other way round' },
  { name: 'drain', aliases: [], argument: '', help: 'the chosen or marked nodes or backends' },
  { name: 'undrain', aliases: [], argument: '', help: 'takes that back' },
  { name: 'edit', aliases: [], argument: '', help: 'the chosen object in $EDITOR' },
  { name: 'undo', aliases: [], argument: '', help: 'takes back the last change that was applied here' },
  { name: 'actions', aliases: [], argument: '', help: 'all that can be done here' },
  { name: 'new', aliases: [], argument: '', help: 'one more of what is listed: objects in $EDITOR, others in a form' },
  { name: 'copy', aliases: [], argument: '', help: 'another service, guard or policy like the chosen one, in $EDITOR' },
  {
    name: 'delete',
    aliases: ['remove'],
    argument: '',
    help: 'the chosen one; objects and keys also as many as are marked',
  },
  { name: 'import', aliases: [], argument: '', help: 'in :certificates: one from files, with its key' },
  { name: 'renew', aliases: [], argument: '', help: 'gives the chosen certificate another key and certificate' },
  { name: 'revoke', aliases: [], argument: '', help: 'the chosen certificate or API key' },
  {
    name: 'rotate',
    aliases: [],
    argument: '',
    help: 'gives the chosen API key another secret; in :mesh gossip another key',
  },
  { name: 'role', aliases: [], argument: '', help: 'gives the chosen user another role' },
  { name: 'password', aliases: [], argument: '', help: 'gives the chosen user another password' },
  { name: 'totp', aliases: [], argument: '', help: "takes the chosen user's second factor away" },
  { name: 'enrol', aliases: [], argument: '', help: 'gives the chosen user an authenticator as second factor' },
  { name: 'codes', aliases: [], argument: '', help: 'gives the chosen user new recovery codes' },
  { name: 'logout', aliases: [], argument: '', help: 'ends all sessions of the chosen user' },
  { name: 'token', aliases: [], argument: '', help: 'in :mesh: a token that lets a machine join, once' },
  { name: 'assign', aliases: [], argument: '', help: 'puts the chosen node into a cluster' },
  { name: 'unassign', aliases: [], argument: '', help: 'takes it out of one' },
  { name: 'seek', aliases: [], argument: 'TIME', help: 'in a recording: 12:30:00, +30s, -5m, start or end' },
  { name: 'speed', aliases: [], argument: 'TIMES', help: 'in a recording: 0.1 to 100 times as fast as it was' },
  { name: 'revert', aliases: [], argument: '', help: 'in :history: makes all as it was in the chosen version' },
];
