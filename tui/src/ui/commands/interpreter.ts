// SPDX-License-Identifier: Apache-2.0
/** What a line after ":" means, what it may become (Tab), and what was probably meant. Knows names alone. */
import { nearest } from '@marcher/model';
import { COMMANDS, type CommandName } from './table.js';

/** What ":" may name besides commands. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
}

export type Meaning =
  | { readonly kind: 'nothing' }
  /** ":services web": the view, and a filter for it. */
  | { readonly kind: 'view'; readonly view: string; readonly filter: string }
  | { readonly kind: 'command'; readonly command: CommandName; readonly argument: string }
  | { readonly kind: 'faulty'; readonly reason: string };

export function interpret(line: string, views: readonly Named[]): Meaning {
  const [word = '', ...rest] = line.trim().split(/\s+/);
  if (word === '') return { kind: 'nothing' };
  const argument = rest.join(' ');
  const name = word.toLowerCase();
  const isNamed = (named: Named): boolean => named.name === name || named.aliases.includes(name);
  const view = views.find(isNamed);
  if (view !== undefined) return { kind: 'view', view: view.name, filter: argument.replace(/^\//, '') };
  const command = COMMANDS.find(isNamed);
  if (command === undefined) {
    const near = nearest(name, namesOf([...views, ...COMMANDS]));
    const meant = near === undefined ? '' : ` Did you mean :${near}?`;
    return { kind: 'faulty', reason: `There is no command or view "${word}".${meant} ? lists them.` };
  }
  if (argument !== '' && command.argument === '') {
    return { kind: 'faulty', reason: `:${command.name} takes nothing after it, and "${argument}" was given` };
  }
  if (argument === '' && command.argument !== '') {
    return { kind: 'faulty', reason: `:${command.name} needs more: write :${command.name} ${command.argument}` };
  }
  return { kind: 'command', command: command.name, argument };
}

/**
 * Whole lines that begin with what was typed: names first, then what may follow a name. values: what an argument of that command
 * or view may be.
 */
export function completions(
  line: string,
  views: readonly Named[],
  values: (name: string) => readonly string[],
): readonly string[] {
  const match = /^\s*(\S+)(\s+(.*))?$/.exec(line);
  const word = (match?.[1] ?? '').toLowerCase();
  if (match?.[2] === undefined) {
    const all = [...views, ...COMMANDS];
    const begins = all.filter(({ name }) => name.startsWith(word)).map(({ name }) => name);
    // An alias that is typed whole stands for its name.
    const whole = all.filter(({ aliases }) => word !== '' && aliases.includes(word)).map(({ name }) => name);
    return [...new Set([...whole, ...begins])];
  }
  const begun = (match[3] ?? '').toLowerCase();
  const meaning = interpret(word, views);
  const name = meaning.kind === 'view' ? meaning.view : word;
  return values(name)
    .filter((value) => value.toLowerCase().startsWith(begun))
    .slice(0, SUGGESTIONS_MAX)
    .map((value) => `${word} ${value}`);
}

const SUGGESTIONS_MAX = 50;

/** The text that all of them begin with, or the first where there is no more than what is typed: what Tab makes of it. */
export function completed(line: string, suggestions: readonly string[]): string {
  const [first] = suggestions;
  if (first === undefined) return line;
  let shared = first;
  for (const suggestion of suggestions) {
    while (!suggestion.startsWith(shared)) shared = shared.slice(0, -1);
  }
  if (suggestions.length === 1) return `${first} `;
  if (shared.length > line.trimStart().length) return shared;
  // All of them begin like this: each Tab is the next one.
  return suggestions[(suggestions.indexOf(line.trim()) + 1) % suggestions.length] ?? line;
}

function namesOf(all: readonly Named[]): string[] {
  return all.flatMap(({ name, aliases }) => [name, ...aliases.filter((alias) => alias.length > 2)]);
}
