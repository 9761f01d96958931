// SPDX-License-Identifier: Apache-2.0
/**
 * What the parts of the console share: the operator's state, what is on the screen because of it, and how both change.
 *
 *   keys ──▶ navigation, prompting, asking, commanding ──events──▶ Desk ──lines──▶ terminal
 *                                                                   ▲
 *                                               the mesh's state, the feed of the page
 */
import { type Body, frame, type Picture, pageSize, roomFor, type Size } from '../components/frame.js';
import { PageFeed } from '../feeds/page-feed.js';
import type { ConsolePorts } from '../ports.js';
import { parseFilter } from '../store/filter.js';
import { reduce, type Shown, type UiEvent } from '../store/reducer.js';
import { RowStore } from '../store/rows.js';
import {
  isOfThings,
  type Page,
  pageOf,
  type Scope,
  startState,
  type TextPage,
  type UiState,
} from '../store/ui-state.js';
import { place } from '../store/window.js';
import { foldLine, textOf } from '../theme/line.js';
import type { Theme, Tone } from '../theme/theme.js';
import { VIEWS } from '../views/index.js';
import { type Loaded, textLines } from '../views/text-page.js';
import type { Sight, View } from '../views/view.js';

/** What the operator has chosen: a row of a list, or what the page is all about. */
export interface Chosen {
  readonly view: View;
  readonly scope: Scope;
  readonly id: string;
  readonly item: object;
  /** Those that are marked, or else it alone. */
  readonly items: readonly object[];
}

export class Desk {
  readonly ports: ConsolePorts;
  readonly theme: Theme;
  readonly feed: PageFeed;
  /** What the text that is shown was asked for. */
  loaded: Loaded | undefined;
  /** What Tab would make of the command that is typed. */
  suggestions: () => readonly string[] = () => [];

  /** What is wrong with the console itself, for the header. */
  warning: () => string | undefined = () => undefined;

  private readonly rowStore = new RowStore();
  private readonly listeners = new Set<() => void>();
  private state: UiState;
  private measured: Size;
  private shownLines: readonly string[];
  private isOpen = false;
  private watched: { readonly key: string; readonly end: () => void } = { key: '', end: () => undefined };

  constructor(ports: ConsolePorts, theme: Theme, size: Size, first: Page) {
    this.ports = ports;
    this.theme = theme;
    this.measured = size;
    this.state = startState(first);
    this.feed = new PageFeed({
      ...{ reach: ports.reach, clock: ports.clock },
      state: () => ports.fleet.state,
      changed: () => this.draw(),
    });
    this.shownLines = frame(this.picture(), size);
  }

  get ui(): UiState {
    return this.state;
  }

  get page(): Page {
    return pageOf(this.state);
  }

  get size(): Size {
    return this.measured;
  }

  /** From now on agents are asked for what is looked at. */
  open(): void {
    this.isOpen = true;
    this.feed.follow(this.state.pages);
    this.draw();
  }

  close(): void {
    this.watch([]);
    this.isOpen = false;
    this.feed.close();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** The same list as long as nothing on the screen is different. */
  readonly lines = (): readonly string[] => this.shownLines;

  resize(size: Size): void {
    this.measured = size;
    this.draw();
  }

  dispatch(event: UiEvent): void {
    this.state = reduce(this.state, event);
    if (this.isOpen) this.feed.follow(this.state.pages);
    this.draw();
  }

  say(tone: Tone, text: string): void {
    this.dispatch({ type: 'notify', notice: { tone, text } });
  }

  draw(): void {
    const picture = this.picture();
    if (this.isOpen) this.watch(servicesOn(picture.body, this.room()));
    const lines = frame(picture, this.measured);
    const before = this.shownLines;
    if (lines.length === before.length && lines.every((line, i) => line === before[i])) return;
    this.shownLines = lines;
    for (const listener of this.listeners) listener();
  }

  sight(): Sight {
    // In whole seconds: what is computed from the time stays the same between them.
    const nowMs = Math.floor(this.ports.clock.nowMs() / 1_000) * 1_000;
    const { scope } = this.page;
    return {
      ...{ state: this.ports.fleet.state, feed: this.feed.current, nowMs, scope },
      ...{ theme: this.theme, columns: this.measured.columns },
    };
  }

  /** What can be moved in. */
  shown(): Shown {
    const body = this.body(this.sight());
    const height = roomFor(body.kind, this.room());
    return body.kind === 'list'
      ? { ids: body.rows.ids, length: body.rows.ids.length, height, tail: body.view.tail === true }
      : { ids: [], length: body.lines.length, height, tail: false };
  }

  /** Of the things that the page is about; undefined: it is about something else. */
  view(): View | undefined {
    return isOfThings(this.page) ? VIEWS.get(this.page.view) : undefined;
  }

  chosen(): Chosen | undefined {
    const sight = this.sight();
    const body = this.body(sight);
    if (body.kind === 'text') return this.lookedAt(body.page, sight);
    const { page, view, rows } = body;
    const { index } = place(page, rows.ids, roomFor('list', this.room()), view.tail);
    const row = rows.rows[index];
    if (row === undefined) return undefined;
    const marked = rows.rows.filter(({ id }) => page.marks.has(id));
    const items = (marked.length > 0 ? marked : [row]).map(({ item }) => item);
    return { view, scope: page.scope, id: row.id, item: row.item, items };
  }

  /** The picture stands, or goes on. */
  hold(paused: boolean): void {
    if (paused) this.ports.fleet.pause();
    else {
      this.ports.fleet.resume();
      this.feed.release();
    }
    this.draw();
  }

  private lookedAt(page: TextPage, sight: Sight): Chosen | undefined {
    const view = this.view();
    const item = view?.items(sight).find((each) => view.id(each) === page.id);
    return view === undefined || item === undefined
      ? undefined
      : { view, scope: page.scope, id: page.id, item, items: [item] };
  }

  private picture(): Picture {
    const sight = this.sight();
    const suggestions = this.state.prompt?.mode === 'command' ? this.suggestions() : [];
    const { target, banner, readOnly } = this.ports;
    const said = [this.warning(), banner?.()].filter((text) => text !== undefined).join('  ');
    return {
      ...{ ui: this.state, sight, target, body: this.body(sight), suggestions },
      ...(said === '' ? {} : { banner: { text: said, instead: readOnly !== undefined } }),
    };
  }

  private body(sight: Sight): Body {
    const { page } = this;
    if (page.kind === 'list') {
      const view = VIEWS.get(page.view);
      if (view !== undefined) return { kind: 'list', view, page, rows: this.rowStore.rowsOf(view, page, sight) };
      throw new Error(`there is no view "${page.view}"`);
    }
    const lines = textLines(page, sight, this.loaded);
    const filter = parseFilter(page.filter);
    const shown = filter.kind === 'expression' ? lines.filter((line) => filter.test(textOf(line))) : lines;
    return { kind: 'text', page, lines: shown.flatMap((line) => foldLine(sight.theme, line, sight.columns - 1)) };
  }

  /** For the page. */
  private room(): Size {
    return pageSize(this.state, this.theme, this.measured);
  }

  /** Histories are kept of services that are looked at. */
  private watch(services: readonly string[]): void {
    const key = services.join(' ');
    if (this.watched.key === key) return;
    this.watched.end();
    this.watched = { key, end: services.length === 0 ? () => undefined : this.ports.fleet.watch(services) };
  }
}

/** Those whose trend is on the screen. */
function servicesOn(body: Body, size: Size): readonly string[] {
  if (body.kind === 'text') return body.page.text === 'detail' && body.page.view === 'services' ? [body.page.id] : [];
  if (body.view.name !== 'services') return [];
  const height = roomFor('list', size);
  const { offset } = place(body.page, body.rows.ids, height);
  return body.rows.ids.slice(offset, offset + height);
}
