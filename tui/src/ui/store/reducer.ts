// SPDX-License-Identifier: Apache-2.0
/**
 * What each thing that the operator does makes of the console's state. Pure: what is on the screen (the ids of the rows, how
 * many fit) comes with the event.
 */
import type { Form } from './form.js';
import { deleteBefore, insertText, moveCursor } from './prompt-text.js';
import {
  type Dialog,
  type ListPage,
  type Notice,
  PAGES_MAX,
  type Page,
  pageOf,
  type TextPage,
  TYPED_MAX,
  type UiState,
} from './ui-state.js';
import { moved, place } from './window.js';

export type Motion = 'down' | 'up' | 'top' | 'bottom' | 'half-down' | 'half-up' | 'page-down' | 'page-up';

/** The list, or the lines of a text, as they are on the screen. */
export interface Shown {
  /** Empty for a text. */
  readonly ids: readonly string[];
  /** Rows or lines there are. */
  readonly length: number;
  /** That fit. */
  readonly height: number;
  /** Followed at its end while nothing in it is chosen. */
  readonly tail: boolean;
}

export type UiEvent =
  | { readonly type: 'open'; readonly page: Page }
  /** In the place of the whole way. */
  | { readonly type: 'go'; readonly page: Page }
  | { readonly type: 'back' }
  /** The page, whatever narrows its list. */
  | { readonly type: 'leave' }
  | { readonly type: 'move'; readonly motion: Motion; readonly shown: Shown }
  | { readonly type: 'mark'; readonly shown: Shown }
  | { readonly type: 'clear-marks' }
  | { readonly type: 'sort'; readonly column: string }
  | { readonly type: 'filter'; readonly text: string }
  | { readonly type: 'prompt'; readonly mode: 'command' | 'filter' }
  | { readonly type: 'type'; readonly text: string }
  | { readonly type: 'erase'; readonly what: 'character' | 'word' | 'all' }
  | { readonly type: 'cursor'; readonly to: 'left' | 'right' | 'start' | 'end' }
  | { readonly type: 'replace-prompt'; readonly text: string }
  | { readonly type: 'recall'; readonly by: 1 | -1 }
  | { readonly type: 'accept' }
  | { readonly type: 'cancel' }
  | { readonly type: 'ask'; readonly dialog: Dialog }
  | { readonly type: 'answer'; readonly text: string }
  /** last: the offset at which the end is seen. */
  | { readonly type: 'scroll-dialog'; readonly by: number; readonly last: number }
  | { readonly type: 'close-dialog' }
  /** It was begun, typed in, or is over. */
  | { readonly type: 'form'; readonly form: Form | undefined }
  | { readonly type: 'notify'; readonly notice: Notice | undefined }
  | { readonly type: 'unlock'; readonly unlocked: boolean };

export function reduce(state: UiState, event: UiEvent): UiState {
  switch (event.type) {
    case 'open':
      return { ...state, pages: opened(state.pages, event.page), notice: undefined };
    case 'go':
      return { ...state, pages: [event.page], notice: undefined };
    case 'leave': {
      const [first, ...rest] = state.pages;
      return { ...state, pages: [first, ...rest.slice(0, -1)], notice: undefined };
    }
    case 'back':
      return back(state);
    case 'move':
      return onPage(state, (page) =>
        page.kind === 'list' ? movedList(page, event.motion, event.shown) : movedText(page, event.motion, event.shown),
      );
    case 'mark':
      return onPage(state, (page) => (page.kind === 'list' ? marked(page, event.shown) : page));
    case 'clear-marks':
      return onPage(state, (page) => (page.kind === 'list' ? { ...page, marks: new Set() } : page));
    case 'sort':
      return onPage(state, (page) => (page.kind === 'list' ? sorted(page, event.column) : page));
    case 'filter':
      return filtered(state, event.text);
    case 'prompt': {
      const before = event.mode === 'filter' ? pageOf(state).filter : '';
      const prompt = { mode: event.mode, text: before, cursor: before.length, before, back: 0 };
      return { ...state, prompt, notice: undefined };
    }
    case 'type':
      return typing(state, (prompt) => insertText(prompt, event.text));
    case 'erase':
      return typing(state, (prompt) => deleteBefore(prompt, event.what));
    case 'cursor':
      return typing(state, (prompt) => moveCursor(prompt, event.to));
    case 'replace-prompt':
      return typing(state, () => ({ text: event.text, cursor: event.text.length }));
    case 'recall':
      return recalled(state, event.by);
    case 'accept':
      return accepted(state);
    case 'cancel':
      return state.prompt?.mode === 'filter'
        ? { ...filtered(state, state.prompt.before), prompt: undefined }
        : { ...state, prompt: undefined };
    case 'ask':
      return { ...state, dialog: event.dialog, prompt: undefined, notice: undefined };
    case 'answer':
      return state.dialog === undefined ? state : { ...state, dialog: { ...state.dialog, typed: event.text } };
    case 'scroll-dialog':
      return scrolledDialog(state, event.by, event.last);
    case 'close-dialog':
      return { ...state, dialog: undefined };
    case 'form':
      return { ...state, form: event.form, prompt: undefined };
    case 'notify':
      return { ...state, notice: event.notice };
    case 'unlock':
      return { ...state, unlocked: event.unlocked };
  }
}

type Pages = UiState['pages'];

function opened(pages: Pages, page: Page): Pages {
  // Who goes round in circles keeps the last steps.
  const [first, ...rest] = pages;
  return [first, ...rest.slice(-(PAGES_MAX - 2)), page];
}

/** Takes away what narrows the list first, then the page. */
function back(state: UiState): UiState {
  const page = pageOf(state);
  if (state.notice !== undefined) return { ...state, notice: undefined };
  if (page.filter !== '') return filtered(state, '');
  if (page.kind === 'list' && page.marks.size > 0) return reduce(state, { type: 'clear-marks' });
  const [first, ...rest] = state.pages;
  return rest.length === 0 ? state : { ...state, pages: [first, ...rest.slice(0, -1)] };
}

function onPage(state: UiState, change: (page: Page) => Page): UiState {
  const page = pageOf(state);
  const changed = change(page);
  return changed === page ? state : { ...state, pages: [...state.pages.slice(0, -1), changed] as unknown as Pages };
}

function movedList(page: ListPage, motion: Motion, { ids, height, tail }: Shown): ListPage {
  const at = place(page, ids, height, tail);
  return {
    ...page,
    ...moved({ ...page, offset: at.offset }, target(motion, at.index, ids.length, height), ids, height, tail),
  };
}

function movedText(page: TextPage, motion: Motion, { length, height }: Shown): TextPage {
  const last = Math.max(0, length - height);
  const from = Math.min(page.offset, last);
  return { ...page, offset: Math.max(0, Math.min(last, target(motion, from, length, height))) };
}

function target(motion: Motion, from: number, length: number, height: number): number {
  const half = Math.max(1, Math.floor(height / 2));
  const whole = Math.max(1, height - 1);
  switch (motion) {
    case 'down':
      return from + 1;
    case 'up':
      return from - 1;
    case 'top':
      return 0;
    case 'bottom':
      return length - 1;
    case 'half-down':
      return from + half;
    case 'half-up':
      return from - half;
    case 'page-down':
      return from + whole;
    case 'page-up':
      return from - whole;
  }
}

/** Marks the chosen row, or takes its mark away, and goes on to the next. */
function marked(page: ListPage, shown: Shown): ListPage {
  const { index } = place(page, shown.ids, shown.height, shown.tail);
  const id = shown.ids[index];
  if (id === undefined) return page;
  const marks = new Set(page.marks);
  if (!marks.delete(id)) marks.add(id);
  return movedList({ ...page, marks }, 'down', shown);
}

/** The same column again turns the order round. Rows stay chosen; the list begins at its top. */
function sorted(page: ListPage, column: string): ListPage {
  const again = page.sort?.column === column;
  return { ...page, sort: { column, descending: again && !page.sort.descending }, offset: 0 };
}

function filtered(state: UiState, filter: string): UiState {
  return onPage(state, (page) => (page.filter === filter ? page : { ...page, filter, offset: 0 }));
}

function typing(
  state: UiState,
  change: (prompt: { text: string; cursor: number }) => { text: string; cursor: number },
): UiState {
  if (state.prompt === undefined) return state;
  const prompt = { ...state.prompt, ...change(state.prompt), back: 0 };
  const next = { ...state, prompt };
  // A filter is seen to work while it is typed.
  return prompt.mode === 'filter' ? filtered(next, prompt.text) : next;
}

function recalled(state: UiState, by: 1 | -1): UiState {
  const { prompt, typed } = state;
  if (prompt === undefined || prompt.mode !== 'command') return state;
  const back = Math.max(0, Math.min(typed.length, prompt.back + by));
  const text = back === 0 ? '' : (typed[typed.length - back] ?? '');
  return { ...state, prompt: { ...prompt, text, cursor: text.length, back } };
}

function accepted(state: UiState): UiState {
  const { prompt, typed } = state;
  if (prompt === undefined) return state;
  const text = prompt.text.trim();
  const kept =
    prompt.mode === 'command' && text !== '' && typed.at(-1) !== text ? [...typed, text].slice(-TYPED_MAX) : typed;
  return { ...state, prompt: undefined, typed: kept };
}

function scrolledDialog(state: UiState, by: number, last: number): UiState {
  const { dialog } = state;
  if (dialog === undefined) return state;
  return { ...state, dialog: { ...dialog, offset: Math.max(0, Math.min(last, dialog.offset + by)) } };
}
