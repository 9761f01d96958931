// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { VIEW_NAMES } from '../views/index.js';
import { completed, completions, interpret } from './interpreter.js';
import { COMMANDS } from './table.js';

const none = (): string[] => [];

describe('a command', () => {
  test('names a view by its name or an alias, whatever the case', () => {
    for (const line of ['services', 'svc', 'SVC', ' service ']) {
      expect(interpret(line, VIEW_NAMES)).toEqual({ kind: 'view', view: 'services', filter: '' });
    }
  });

  test('what follows a view is its filter, as / would take it', () => {
    expect(interpret('be ^web/a$', VIEW_NAMES)).toEqual({ kind: 'view', view: 'backends', filter: '^web/a$' });
    expect(interpret('svc /web', VIEW_NAMES)).toMatchObject({ filter: 'web' });
  });

  test('is a command with what it needs, and nothing more', () => {
    expect(interpret('q', VIEW_NAMES)).toEqual({ kind: 'command', command: 'quit', argument: '' });
    expect(interpret('sort open', VIEW_NAMES)).toEqual({ kind: 'command', command: 'sort', argument: 'open' });
    expect(interpret('sort', VIEW_NAMES)).toMatchObject({ kind: 'faulty', reason: expect.stringContaining('COLUMN') });
    expect(interpret('quit now', VIEW_NAMES)).toMatchObject({ kind: 'faulty' });
    expect(interpret('  ', VIEW_NAMES)).toEqual({ kind: 'nothing' });
  });

  test('that is mistyped says what was probably meant', () => {
    expect(interpret('serivces', VIEW_NAMES)).toMatchObject({ reason: expect.stringContaining(':services') });
    expect(interpret('xyzzy', VIEW_NAMES)).toMatchObject({ reason: expect.not.stringContaining('mean') });
  });

  test('no name is given twice', () => {
    const names = [...VIEW_NAMES, ...COMMANDS].flatMap(({ name, aliases }) => [name, ...aliases]);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });
});

describe('Tab', () => {
  test('completes what only one name begins with', () => {
    expect(completed('dash', completions('dash', VIEW_NAMES, none))).toBe('dashboard ');
  });

  test('writes what all have in common, then goes through them', () => {
    const webs = ['webshop', 'website'].map((name) => ({ name, aliases: [] }));
    expect(completed('we', completions('we', webs, none))).toBe('webs');
    const all = completions('con', VIEW_NAMES, none);
    expect(all).toEqual(['connections', 'conflicts']);
    expect(completed('con', all)).toBe('connections');
  });

  test('leaves a line alone that nothing begins with', () => {
    expect(completed('zzz', completions('zzz', VIEW_NAMES, none))).toBe('zzz');
  });

  test('completes what follows a name by what there is', () => {
    const names = (view: string): string[] => (view === 'services' ? ['web', 'web-admin', 'api'] : []);
    expect(completions('svc w', VIEW_NAMES, names)).toEqual(['svc web', 'svc web-admin']);
    expect(completed('svc w', completions('svc w', VIEW_NAMES, names))).toBe('svc web');
    expect(completed('svc a', completions('svc a', VIEW_NAMES, names))).toBe('svc api ');
  });
});
