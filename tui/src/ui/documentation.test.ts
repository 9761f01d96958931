// SPDX-License-Identifier: Apache-2.0
/** docs/terminal.md has what the tables have: the keys, the views, the commands, in their words. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { COMMANDS } from './commands/table.js';
import { BINDINGS, bindingOf, keyText, type Subject } from './keys/table.js';
import { VIEW_NAMES, VIEWS } from './views/index.js';

const page = readFileSync(new URL('../../../docs/terminal.md', import.meta.url), 'utf8');
const code = (texts: readonly string[]): string => texts.map((text) => `\`${text}\``).join(', ');

test.each(BINDINGS)('key $keys is documented', ({ keys, help }) => {
  expect(page).toContain(`| ${code(keys.map(keyText))} | ${help} |`);
});

test.each(VIEW_NAMES)('view $name is documented', ({ name, aliases, help }) => {
  expect(page).toContain(`| ${code([name, ...aliases].map((each) => `:${each}`))} | ${help} |`);
});

test.each(COMMANDS)('command $name is documented', ({ name, aliases, argument, help }) => {
  const shown = [`:${name}${argument === '' ? '' : ` ${argument}`}`, ...aliases.map((alias) => `:${alias}`)];
  expect(page).toContain(`| ${code(shown)} | ${help} |`);
});

test('no key does two things in one place', () => {
  const subjects: readonly Subject[] = ['node', 'service', 'backend', 'object', 'other'];
  for (const subject of subjects) {
    for (const { keys } of BINDINGS) {
      for (const key of keys) {
        // A place has a part of these.
        const all = BINDINGS.filter(
          (each) => each.keys.includes(key) && (each.subjects === undefined || each.subjects.includes(subject)),
        );
        expect(all.length, `${key} of ${subject}`).toBeLessThanOrEqual(1);
      }
    }
  }
});

test('no letter sorts by two columns of a view, or does something else', () => {
  for (const { name, columns, subject } of VIEWS.values()) {
    const letters = columns.flatMap(({ key }) => (key === undefined ? [] : [key]));
    expect(new Set(letters).size, name).toBe(letters.length);
    for (const letter of letters) {
      expect(letter, name).toMatch(/^[A-Z]$/);
      expect(bindingOf(letter, 'list', subject), `${letter} of ${name}`).toBeUndefined();
    }
  }
});
