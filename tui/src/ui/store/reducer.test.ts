// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Motion, reduce, type Shown, type UiEvent } from './reducer.js';
import { type ListPage, listPage, PAGES_MAX, pageOf, startState, textPage, type UiState } from './ui-state.js';
import { place } from './window.js';

const ids = Array.from({ length: 100 }, (_, i) => `row${i}`);
const shown: Shown = { ids, length: ids.length, height: 10, tail: false };

function after(...events: readonly UiEvent[]): UiState {
  return events.reduce(reduce, startState(listPage('services')));
}
const move = (motion: Motion, on: Shown = shown): UiEvent => ({ type: 'move', motion, shown: on });
const list = (state: UiState): ListPage => pageOf(state) as ListPage;

describe('moving in a list', () => {
  test('goes by rows, halves and pages, and never beyond its ends', () => {
    expect(list(after(move('down'))).selected).toBe('row1');
    expect(list(after(move('up'))).selected).toBe('row0');
    expect(list(after(move('half-down'))).selected).toBe('row5');
    expect(list(after(move('page-down'), move('page-down'))).selected).toBe('row18');
    expect(list(after(move('bottom'))).selected).toBe('row99');
    expect(list(after(move('bottom'), move('page-down'))).selected).toBe('row99');
    expect(list(after(move('bottom'), move('top'))).selected).toBe('row0');
  });

  test('scrolls no further than it must', () => {
    const at = after(...Array.from({ length: 9 }, () => move('down')));
    expect(list(at).offset).toBe(0);
    expect(list(reduce(at, move('down'))).offset).toBe(1);
    expect(list(after(move('bottom'), move('up'))).offset).toBe(90);
  });

  test('does nothing in a list without rows', () => {
    expect(list(after(move('down', { ...shown, ids: [], length: 0 }))).selected).toBeUndefined();
  });

  test('a log is followed at its end, until one goes up, and again from its end', () => {
    const log = { ...shown, tail: true };
    expect(place(list(after()), ids, 10, true).index).toBe(99);
    const up = after(move('up', log));
    expect(list(up).selected).toBe('row98');
    expect(list(reduce(up, move('down', log))).selected).toBeUndefined();
  });
});

describe('the chosen row', () => {
  const chosen = list(after(move('half-down')));

  test('stays chosen when rows come before it', () => {
    expect(place(chosen, ['new1', 'new2', ...ids], 10).index).toBe(7);
  });

  test('stays chosen when the list is sorted another way', () => {
    expect(place(chosen, [...ids].reverse(), 10).index).toBe(94);
  });

  test('when it is gone, what is in its place is chosen', () => {
    const left = ids.filter((id) => id !== 'row5');
    expect(place(chosen, left, 10).index).toBe(5);
    expect(place(chosen, ids.slice(0, 3), 10).index).toBe(2);
    expect(place(chosen, [], 10).index).toBe(-1);
  });

  test('is on the screen whatever has become of the list', () => {
    const { index, offset } = place({ ...chosen, offset: 40 }, ids, 10);
    expect(offset).toBeLessThanOrEqual(index);
    expect(index).toBeLessThan(offset + 10);
    expect(place({ ...chosen, selected: 'row99', offset: 0 }, ids, 10).offset).toBe(90);
  });
});

describe('marks', () => {
  test('mark goes on to the next row; again takes it away', () => {
    const one = after({ type: 'mark', shown });
    expect([...list(one).marks]).toEqual(['row0']);
    expect(list(one).selected).toBe('row1');
    expect(list(reduce(reduce(one, move('up')), { type: 'mark', shown })).marks.size).toBe(0);
  });
});

describe('back', () => {
  const deep = after(
    { type: 'open', page: listPage('backends', { service: 'web' }) },
    { type: 'filter', text: 'a' },
    { type: 'mark', shown },
  );

  test('takes the filter away, then the marks, then the page', () => {
    const unfiltered = reduce(deep, { type: 'back' });
    expect(pageOf(unfiltered).filter).toBe('');
    expect(list(unfiltered).marks.size).toBe(1);
    const unmarked = reduce(unfiltered, { type: 'back' });
    expect(list(unmarked).marks.size).toBe(0);
    expect(unmarked.pages).toHaveLength(2);
    expect(reduce(unmarked, { type: 'back' }).pages).toHaveLength(1);
  });

  test('stays on the first page', () => {
    expect(after({ type: 'back' }, { type: 'back' }).pages).toHaveLength(1);
  });

  test('finds the page as it was left', () => {
    const away = reduce(after(move('half-down')), { type: 'open', page: textPage('yaml', 'yaml') });
    expect(list(reduce(away, { type: 'back' })).selected).toBe('row5');
  });

  test('who goes round in circles keeps the first page and the last steps', () => {
    const events = Array.from({ length: 50 }, (_, i): UiEvent => ({ type: 'open', page: listPage(`v${i}`) }));
    const { pages } = after(...events);
    expect(pages).toHaveLength(PAGES_MAX);
    expect(list({ ...after(), pages: [pages[0]] }).view).toBe('services');
    expect((pages.at(-1) as ListPage).view).toBe('v49');
  });
});

describe('sorting', () => {
  test('the same column again turns the order round, another one begins anew', () => {
    const once = after({ type: 'sort', column: 'OPEN' });
    expect(list(once).sort).toEqual({ column: 'OPEN', descending: false });
    const twice = reduce(once, { type: 'sort', column: 'OPEN' });
    expect(list(twice).sort).toEqual({ column: 'OPEN', descending: true });
    expect(list(reduce(twice, { type: 'sort', column: 'NAME' })).sort?.descending).toBe(false);
  });
});

describe('what is typed', () => {
  const type = (text: string): UiEvent => ({ type: 'type', text });

  test('a filter works while it is typed; Esc has it as it was before', () => {
    const typing = after({ type: 'filter', text: 'old' }, { type: 'prompt', mode: 'filter' }, type('er'));
    expect(pageOf(typing).filter).toBe('older');
    const left = reduce(typing, { type: 'cancel' });
    expect(pageOf(left).filter).toBe('old');
    expect(left.prompt).toBeUndefined();
    expect(pageOf(reduce(typing, { type: 'accept' })).filter).toBe('older');
  });

  test('a command changes nothing before it is accepted', () => {
    const typing = after({ type: 'prompt', mode: 'command' }, type('nodes'));
    expect(pageOf(typing).filter).toBe('');
    expect(reduce(typing, { type: 'accept' }).typed).toEqual(['nodes']);
  });

  test('characters go in and out at the cursor, wide ones whole', () => {
    const state = after(
      { type: 'prompt', mode: 'command' },
      type('a日b'),
      { type: 'cursor', to: 'left' },
      { type: 'erase', what: 'character' },
      type('x'),
    );
    expect(state.prompt).toMatchObject({ text: 'axb', cursor: 2 });
  });

  test('control characters that were pasted are blanks, and what is pasted is bounded', () => {
    const state = after({ type: 'prompt', mode: 'command' }, type('a\u001b[2J\nb'), type('x'.repeat(10_000)));
    expect(state.prompt?.text.startsWith('a [2J b')).toBe(true);
    expect(state.prompt?.text.length).toBeLessThanOrEqual(400);
  });

  test('earlier commands come back, the newest first, each once', () => {
    const run = (text: string): UiEvent[] => [{ type: 'prompt', mode: 'command' }, type(text), { type: 'accept' }];
    const state = after(...run('nodes'), ...run('svc'), ...run('svc'), { type: 'prompt', mode: 'command' });
    const back = reduce(state, { type: 'recall', by: 1 });
    expect(back.prompt?.text).toBe('svc');
    expect(reduce(back, { type: 'recall', by: 1 }).prompt?.text).toBe('nodes');
    expect(reduce(back, { type: 'recall', by: -1 }).prompt?.text).toBe('');
  });
});
