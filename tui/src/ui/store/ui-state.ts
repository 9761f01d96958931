// SPDX-License-Identifier: Apache-2.0
/** All that the console keeps of what the operator has done: where one is, and what is being typed. Nothing of the mesh. */
import type { Tone } from '../theme/theme.js';
import type { Form } from './form.js';
import type { Chosen } from './window.js';

/** What a list is narrowed to by where one came from. */
export interface Scope {
  readonly service?: string;
  /** NodeKey */
  readonly node?: string;
}

export interface Sort {
  /** Title of the column. */
  readonly column: string;
  readonly descending: boolean;
}

export interface ListPage extends Chosen {
  readonly kind: 'list';
  readonly view: string;
  readonly scope: Scope;
  readonly filter: string;
  readonly sort: Sort | undefined;
  readonly marks: ReadonlySet<string>;
}

/** Something to read, which is made anew from what is known whenever it is drawn. */
export interface TextPage {
  readonly kind: 'text';
  readonly text: 'dashboard' | 'help' | 'detail' | 'yaml' | 'explain' | 'tree' | 'loaded';
  /** Of the row that it is about: the view that it is in, and its id. */
  readonly view: string;
  readonly id: string;
  readonly title: string;
  readonly scope: Scope;
  readonly filter: string;
  readonly offset: number;
}

export type Page = ListPage | TextPage;

export interface Prompt {
  readonly mode: 'command' | 'filter';
  readonly text: string;
  /** Position in characters. */
  readonly cursor: number;
  /** Of a filter: what it was before, for Esc. */
  readonly before: string;
  /** Of commands: how far back in what was typed before; 0: not at all. */
  readonly back: number;
}

/** A question. What its answer does is kept by the controller under the same id. */
export interface Dialog {
  readonly id: number;
  readonly title: string;
  readonly lines: readonly string[];
  /** Command lines that do the same: shown whole, as they may be copied. */
  readonly commands: readonly string[];
  /** The text that has to be typed; undefined: "y" is enough. */
  readonly word: string | undefined;
  readonly typed: string;
  readonly offset: number;
  /** It shows what is shown once: it goes when the word was typed, and by nothing else. */
  readonly stays: boolean;
  /** What else may be answered, such as "e" to edit again. */
  readonly others: readonly { readonly key: string; readonly help: string }[];
}

export interface Notice {
  readonly tone: Tone;
  readonly text: string;
}

export interface UiState {
  /** The way here; the last one is shown. Never empty. */
  readonly pages: readonly [Page, ...Page[]];
  readonly prompt: Prompt | undefined;
  readonly dialog: Dialog | undefined;
  readonly form: Form | undefined;
  readonly notice: Notice | undefined;
  /** Until then nothing can be changed. */
  readonly unlocked: boolean;
  /** Commands that were run, the newest last. */
  readonly typed: readonly string[];
}

export const PAGES_MAX = 20;
export const TYPED_MAX = 50;

export function listPage(view: string, scope: Scope = {}, filter = ''): ListPage {
  return {
    ...{ kind: 'list', view, scope, filter, sort: undefined, marks: new Set() },
    ...{ selected: undefined, index: 0, offset: 0 },
  };
}

export function textPage(text: TextPage['text'], title: string, view = '', id = '', scope: Scope = {}): TextPage {
  return { kind: 'text', text, title, view, id, scope, filter: '', offset: 0 };
}

export function startState(page: Page): UiState {
  return {
    ...{ pages: [page], prompt: undefined, dialog: undefined, form: undefined, notice: undefined },
    ...{ unlocked: false, typed: [] },
  };
}

/** A list, or what is to be read of one of its rows: what can be done with a row can be done there. */
export function isOfThings(page: Page): boolean {
  return page.kind === 'list' || page.view !== '';
}

export function pageOf({ pages }: UiState): Page {
  return pages.at(-1) ?? pages[0];
}
