// SPDX-License-Identifier: Apache-2.0
/**
 * The console itself, without a terminal: keys go in, lines come out. It holds the operator's state (store/), looks at the
 * mesh's, has the feed of the page read that is shown, and does what is asked of agents.
 */
import type { NodeView, ObjectView, ServiceView } from '@marcher/client/fleet';
import type { Verb } from './actions/drain.js';
import { messageOf, type Question, Writes } from './actions/writes.js';
import { completed, completions, interpret } from './commands/interpreter.js';
import type { CommandName } from './commands/table.js';
import { type Body, dialogEnd, dialogRoom, frame, type Picture, roomFor, type Size } from './components/frame.js';
import { helpLines } from './components/help.js';
import { type Feed, LOADING, NO_FEED } from './feeds/feed.js';
import { revisionLines } from './feeds/loaded.js';
import { FEEDS } from './feeds/readers.js';
import { characterOf } from './keys/chord.js';
import { type Action, bindingOf, type Subject } from './keys/table.js';
import type { ConsolePorts } from './ports.js';
import { parseFilter } from './store/filter.js';
import { reduce, type Shown, type UiEvent } from './store/reducer.js';
import { type Row, RowStore } from './store/rows.js';
import {
  type ListPage,
  listPage,
  type Page,
  pageOf,
  type Scope,
  startState,
  type TextPage,
  textPage,
  type UiState,
} from './store/ui-state.js';
import { place } from './store/window.js';
import { type Line, piece, textOf } from './theme/line.js';
import type { Theme, Tone } from './theme/theme.js';
import { dashboard } from './views/dashboard.js';
import { explainService } from './views/explain.js';
import { DASHBOARD, VIEW_NAMES, VIEWS } from './views/index.js';
import type { Sight, View } from './views/view.js';
import { yamlLines, yamlOf } from './views/yaml.js';

interface Answers {
  readonly yes: () => void;
  readonly others: Readonly<Record<string, () => void>>;
}

/** How time-dependent texts are brought up to date. */
const TICK_MS = 1_000;
const NO_ANSWERS: Answers = { yes: () => undefined, others: {} };

export class Controller {
  /** Settles when the operator has had enough. */
  readonly done: Promise<void>;
  /** Set by whoever draws: the whole screen is to be written again. */
  onRedraw: () => void = () => undefined;

  private readonly ports: ConsolePorts;
  private readonly theme: Theme;
  private readonly writes: Writes;
  private readonly rowStore = new RowStore();
  private readonly listeners = new Set<() => void>();
  private readonly finish: () => void;
  private ui: UiState;
  private size: Size;
  private shownLines: readonly string[];
  private feed: { readonly key: string; readonly end: () => void; feed: Feed } | undefined;
  private watched: { readonly key: string; readonly end: () => void } = { key: '', end: () => undefined };
  /** What came while the picture is held. */
  private heldFeed: Feed | undefined;
  private loaded: { readonly id: string; readonly lines: readonly Line[] } | undefined;
  private answers: Answers = NO_ANSWERS;
  private dialogs = 0;
  private endings: (() => void)[] = [];

  constructor(ports: ConsolePorts, theme: Theme, size: Size, first: Page = textPage('dashboard', 'dashboard')) {
    this.ports = ports;
    this.theme = theme;
    this.size = size;
    this.ui = startState(first);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.finish = resolve;
    this.writes = new Writes(ports, {
      say: (tone, text) => this.say(tone, text),
      ask: (question) => this.ask(question),
      unmark: () => this.dispatch({ type: 'clear-marks' }),
    });
    this.shownLines = frame(this.picture(), size);
  }

  start(): void {
    this.endings.push(this.ports.fleet.subscribe(() => this.draw()));
    const tick = (): void => {
      if (this.ui.unlocked && !this.writes.isUnlocked) this.dispatch({ type: 'unlock', unlocked: false });
      this.draw();
      cancel = this.ports.clock.after(TICK_MS, tick);
    };
    let cancel = this.ports.clock.after(TICK_MS, tick);
    this.endings.push(() => cancel());
    this.openFeed();
    this.draw();
  }

  close(): void {
    this.watch([]);
    for (const end of this.endings) end();
    this.endings = [];
    this.feed?.end();
    this.feed = undefined;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** The same list as long as nothing on the screen is different. */
  readonly lines = (): readonly string[] => this.shownLines;

  resize(size: Size): void {
    this.size = size;
    this.draw();
  }

  press(chord: string): void {
    if (chord === 'ctrl-c') {
      this.finish();
      return;
    }
    if (chord === 'ctrl-l') {
      this.onRedraw();
      return;
    }
    if (chord === 'ctrl-z') {
      this.ports.suspend();
      return;
    }
    if (this.ui.dialog !== undefined) this.pressDialog(chord);
    else if (this.ui.prompt !== undefined) this.pressPrompt(chord);
    else this.pressPage(chord);
  }

  paste(text: string): void {
    if (this.ui.prompt !== undefined) this.dispatch({ type: 'type', text });
    // What is pasted by mistake is no command: into a question it is no answer either.
  }

  /** What is wrong outside of the console's own doing. */
  complain(text: string): void {
    this.say('bad', text);
  }

  private dispatch(event: UiEvent): void {
    this.ui = reduce(this.ui, event);
    this.openFeed();
    this.draw();
  }

  private say(tone: Tone, text: string): void {
    this.dispatch({ type: 'notify', notice: { tone, text } });
  }

  private draw(): void {
    const picture = this.picture();
    if (this.endings.length > 0) this.watch(servicesOn(picture.body, this.size));
    const lines = frame(picture, this.size);
    const before = this.shownLines;
    if (lines.length === before.length && lines.every((line, i) => line === before[i])) return;
    this.shownLines = lines;
    for (const listener of this.listeners) listener();
  }

  /** Histories are kept of services that are looked at. */
  private watch(services: readonly string[]): void {
    const key = services.join(' ');
    if (this.watched.key === key) return;
    this.watched.end();
    this.watched = { key, end: services.length === 0 ? () => undefined : this.ports.fleet.watch(services) };
  }

  private picture(): Picture {
    const sight = this.sight();
    const suggestions =
      this.ui.prompt?.mode === 'command'
        ? completions(this.ui.prompt.text, VIEW_NAMES, (name) => this.values(name))
        : [];
    return { ui: this.ui, sight, target: this.ports.target, body: this.body(sight), suggestions };
  }

  private sight(scope: Scope = pageOf(this.ui).scope): Sight {
    // In whole seconds: what is computed from the time stays the same between them.
    const nowMs = Math.floor(this.ports.clock.nowMs() / 1_000) * 1_000;
    const feed = this.feed?.feed ?? NO_FEED;
    return { state: this.ports.fleet.state, feed, nowMs, theme: this.theme, scope };
  }

  private body(sight: Sight): Body {
    const page = pageOf(this.ui);
    if (page.kind === 'list') {
      const view = VIEWS.get(page.view);
      if (view !== undefined) return { kind: 'list', view, page, rows: this.rowStore.rowsOf(view, page, sight) };
      throw new Error(`there is no view "${page.view}"`);
    }
    const lines = this.textLines(page, sight);
    const filter = parseFilter(page.filter);
    const shown = filter.kind === 'expression' ? lines.filter((line) => filter.test(textOf(line))) : lines;
    return { kind: 'text', page, lines: shown };
  }

  private textLines(page: TextPage, sight: Sight): readonly Line[] {
    switch (page.text) {
      case 'dashboard':
        return dashboard(sight);
      case 'help':
        return helpLines();
      case 'loaded':
        return this.loaded?.id === page.id ? this.loaded.lines : [[piece('dim', 'Asking ...')]];
      case 'detail': {
        const view = VIEWS.get(page.view);
        const item = view?.items(sight).find((each) => view.id(each) === page.id);
        return item === undefined ? gone(page) : (view?.detail?.(item, sight) ?? []);
      }
      case 'yaml': {
        const object = this.objectOf(page.id);
        if (object === undefined) return gone(page);
        const text = yamlOf(object);
        return text === undefined ? [[piece('dim', 'No node has said yet what it declares.')]] : yamlLines(text);
      }
      case 'explain': {
        const service = sight.state.services.get(page.id);
        return service === undefined ? gone(page) : explainService(service, sight);
      }
    }
  }

  /** By "Service/web", "Guard/edge". */
  private objectOf(key: string): ServiceView | ObjectView | undefined {
    const { services, objects } = this.ports.fleet.state;
    return key.startsWith('Service/') ? services.get(key.slice('Service/'.length)) : objects.get(key);
  }

  /** The feed of the page, or of the list behind a text. */
  private openFeed(): void {
    if (this.endings.length === 0) return;
    const page = this.ui.pages.findLast((each) => each.kind === 'list');
    const name = page === undefined ? undefined : VIEWS.get(page.view)?.feed;
    const read = name === undefined ? undefined : FEEDS[name];
    const key = page === undefined || read === undefined ? '' : JSON.stringify([name, page.scope]);
    if (this.feed?.key === key) return;
    this.feed?.end();
    this.feed = undefined;
    this.heldFeed = undefined;
    if (page === undefined || read === undefined) return;
    const opened = { key, feed: LOADING, end: (): void => undefined };
    this.feed = opened;
    opened.end = read({
      ...{ reach: this.ports.reach, clock: this.ports.clock, scope: page.scope },
      state: () => this.ports.fleet.state,
      publish: (feed) => {
        if (this.feed !== opened) return;
        if (this.ports.fleet.state.paused) this.heldFeed = feed;
        else {
          opened.feed = feed;
          this.draw();
        }
      },
    });
  }

  private pressPage(chord: string): void {
    const page = pageOf(this.ui);
    const view = page.kind === 'list' ? VIEWS.get(page.view) : undefined;
    const subject: Subject = view?.subject ?? 'other';
    const binding = bindingOf(chord, page.kind, subject);
    if (binding !== undefined) {
      this.act(binding.action);
      return;
    }
    const column = view?.columns.find(({ key }) => key === chord);
    if (column !== undefined) this.dispatch({ type: 'sort', column: column.title });
  }

  private act(action: Action): void {
    switch (action.do) {
      case 'move':
        this.dispatch({ type: 'move', motion: action.motion, shown: this.shown() });
        return;
      case 'mark':
        this.dispatch({ type: 'mark', shown: this.shown() });
        return;
      case 'command':
        this.dispatch({ type: 'prompt', mode: 'command' });
        return;
      case 'filter':
        this.dispatch({ type: 'prompt', mode: 'filter' });
        return;
      case 'help':
        this.dispatch({ type: 'open', page: textPage('help', 'help') });
        return;
      case 'back':
        this.dispatch({ type: 'back' });
        return;
      case 'leave':
        this.ui.pages.length > 1 ? this.leavePage() : this.finish();
        return;
      case 'quit':
        this.finish();
        return;
      case 'suspend':
        this.ports.suspend();
        return;
      case 'redraw':
        this.onRedraw();
        return;
      case 'pause':
        this.hold(!this.ports.fleet.state.paused);
        return;
      case 'retry':
        this.retry();
        return;
      case 'detail':
        this.openDetail();
        return;
      case 'yaml':
      case 'explain':
        this.openText(action.do);
        return;
      case 'backends':
      case 'services':
      case 'connections':
      case 'logs':
        this.openScoped(action.do);
        return;
      case 'edit':
        this.edit();
        return;
      case 'drain':
      case 'undrain':
        this.drain(action.do);
        return;
    }
  }

  private leavePage(): void {
    const [first, ...rest] = this.ui.pages;
    this.ui = { ...this.ui, pages: [first, ...rest.slice(0, -1)], notice: undefined };
    this.openFeed();
    this.draw();
  }

  private shown(): Shown {
    const body = this.body(this.sight());
    const height = roomFor(body.kind, this.size);
    return body.kind === 'list'
      ? { ids: body.rows.ids, length: body.rows.ids.length, height, tail: body.view.tail === true }
      : { ids: [], length: body.lines.length, height, tail: false };
  }

  private chosen():
    | { readonly page: ListPage; readonly view: View; readonly row: Row; readonly rows: readonly Row[] }
    | undefined {
    const body = this.body(this.sight());
    if (body.kind !== 'list') return undefined;
    const { page, view, rows } = body;
    const { index } = place(page, rows.ids, roomFor('list', this.size), view.tail);
    const row = rows.rows[index];
    return row === undefined ? undefined : { page, view, row, rows: rows.rows };
  }

  private openDetail(): void {
    const chosen = this.chosen();
    if (chosen === undefined) return;
    const { view, row, page } = chosen;
    const title = view.label(row.item);
    if (view.loads === 'revision') {
      this.load(row.id, title);
      return;
    }
    if (view.detail === undefined) return;
    // A row that moves on while one looks at something else stays chosen.
    this.dispatch({ type: 'open', page: textPage('detail', title, view.name, row.id, page.scope) });
  }

  private load(id: string, title: string): void {
    this.loaded = undefined;
    this.dispatch({ type: 'open', page: textPage('loaded', title, '', id) });
    const keep = (lines: readonly Line[]): void => {
      this.loaded = { id, lines };
      this.draw();
    };
    revisionLines(this.ports.reach, BigInt(id)).then(keep, (error: unknown) =>
      keep([[piece('bad', messageOf(error))]]),
    );
  }

  private openText(what: 'yaml' | 'explain'): void {
    const chosen = this.chosen();
    if (chosen === undefined) return;
    const { view, row, page } = chosen;
    const name = view.label(row.item);
    if (what === 'explain' && view.subject === 'node') {
      this.dispatch({ type: 'open', page: textPage('detail', name, view.name, row.id, page.scope) });
      return;
    }
    const service = view.scopeOf?.(row.item).service;
    const key = view.subject === 'object' ? row.id : `Service/${service ?? name}`;
    const id = what === 'yaml' ? key : (service ?? name);
    this.dispatch({ type: 'open', page: textPage(what, `${what} of ${service ?? name}`, view.name, id) });
  }

  private openScoped(view: string): void {
    const chosen = this.chosen();
    const scope = chosen?.view.scopeOf?.(chosen.row.item);
    if (chosen === undefined || scope === undefined) return;
    this.dispatch({ type: 'open', page: listPage(view, { ...chosen.page.scope, ...scope }) });
  }

  private retry(): void {
    const chosen = this.chosen();
    if (chosen?.view.subject !== 'node') return;
    const { key, name, link } = chosen.row.item as NodeView;
    if (link.kind === 'live') {
      this.say('dim', `${name} answers: there is nothing to ask again.`);
      return;
    }
    this.ports.fleet.retry(key);
    this.say('normal', `${name} is asked again.`);
  }

  private hold(paused: boolean): void {
    if (paused) this.ports.fleet.pause();
    else {
      this.ports.fleet.resume();
      if (this.feed !== undefined && this.heldFeed !== undefined) this.feed.feed = this.heldFeed;
      this.heldFeed = undefined;
    }
    this.draw();
  }

  private pressPrompt(chord: string): void {
    const mode = this.ui.prompt?.mode;
    switch (chord) {
      case 'esc':
        this.dispatch({ type: 'cancel' });
        return;
      case 'enter':
        this.accept();
        return;
      case 'tab':
        mode === 'command' ? this.complete() : undefined;
        return;
      case 'up':
      case 'down':
        this.dispatch({ type: 'recall', by: chord === 'up' ? 1 : -1 });
        return;
      case 'left':
      case 'right':
        this.dispatch({ type: 'cursor', to: chord });
        return;
      case 'home':
      case 'ctrl-a':
        this.dispatch({ type: 'cursor', to: 'start' });
        return;
      case 'end':
      case 'ctrl-e':
        this.dispatch({ type: 'cursor', to: 'end' });
        return;
      case 'backspace':
      case 'delete':
        // On an empty line there is nothing to take away but the line.
        this.ui.prompt?.text === ''
          ? this.dispatch({ type: 'cancel' })
          : this.dispatch({ type: 'erase', what: 'character' });
        return;
      case 'ctrl-w':
        this.dispatch({ type: 'erase', what: 'word' });
        return;
      case 'ctrl-u':
        this.dispatch({ type: 'erase', what: 'all' });
        return;
      default: {
        const text = characterOf(chord);
        if (text !== undefined) this.dispatch({ type: 'type', text });
      }
    }
  }

  private complete(): void {
    const line = this.ui.prompt?.text ?? '';
    const all = completions(line, VIEW_NAMES, (name) => this.values(name));
    this.dispatch({ type: 'replace-prompt', text: completed(line, all) });
  }

  private values(name: string): readonly string[] {
    const page = pageOf(this.ui);
    if (name === 'sort')
      return (VIEWS.get(page.kind === 'list' ? page.view : '')?.columns ?? []).map(({ title }) => title);
    if (name === 'services' || name === 'backends' || name === 'listeners')
      return [...this.ports.fleet.state.services.keys()];
    if (name === 'nodes' || name === 'mesh')
      return [...this.ports.fleet.state.nodes.values()].map(({ name: own }) => own);
    return [];
  }

  private accept(): void {
    const { prompt } = this.ui;
    this.dispatch({ type: 'accept' });
    if (prompt?.mode !== 'command') return;
    const meaning = interpret(prompt.text, VIEW_NAMES);
    switch (meaning.kind) {
      case 'nothing':
        return;
      case 'faulty':
        this.say('bad', meaning.reason);
        return;
      case 'view':
        this.dispatch({
          type: 'go',
          page:
            meaning.view === DASHBOARD.name
              ? textPage('dashboard', DASHBOARD.name)
              : listPage(meaning.view, {}, meaning.filter),
        });
        return;
      case 'command':
        this.command(meaning.command, meaning.argument);
        return;
    }
  }

  private command(command: CommandName, argument: string): void {
    switch (command) {
      case 'quit':
        this.finish();
        return;
      case 'help':
        this.act({ do: 'help' });
        return;
      case 'unlock':
      case 'lock':
        this.writes.setUnlocked(command === 'unlock');
        this.dispatch({ type: 'unlock', unlocked: command === 'unlock' });
        this.say(
          'normal',
          command === 'unlock'
            ? 'This console may change things now, until :lock.'
            : 'Nothing can be changed from here now.',
        );
        return;
      case 'pause':
      case 'resume':
        this.hold(command === 'pause');
        return;
      case 'retry': {
        const away = [...this.ports.fleet.state.nodes.values()].filter(
          ({ link }) => link.kind === 'stale' || link.kind === 'refused',
        );
        for (const { key } of away) this.ports.fleet.retry(key);
        this.say(
          'normal',
          away.length === 0 ? 'All nodes answer.' : `Asked again: ${away.map(({ name }) => name).join(', ')}`,
        );
        return;
      }
      case 'sort':
        this.sortBy(argument);
        return;
      case 'drain':
      case 'undrain':
        this.drain(command);
        return;
      case 'edit':
        this.edit();
        return;
      case 'undo':
        this.writes.undoLast();
        return;
    }
  }

  private sortBy(argument: string): void {
    const page = pageOf(this.ui);
    const columns = VIEWS.get(page.kind === 'list' ? page.view : '')?.columns ?? [];
    const column = columns.find(({ title }) => title.toLowerCase() === argument.toLowerCase());
    if (column !== undefined) {
      this.dispatch({ type: 'sort', column: column.title });
      return;
    }
    const known = columns.map(({ title }) => title).join(', ');
    this.say('bad', known === '' ? 'There are no columns here.' : `There is no column "${argument}": ${known}`);
  }

  private pressDialog(chord: string): void {
    const { dialog } = this.ui;
    if (dialog === undefined) return;
    const room = dialogRoom(this.size);
    const scroll: Readonly<Record<string, number>> = {
      up: -1,
      down: 1,
      pgup: -room,
      pgdn: room,
      'ctrl-u': -room,
      'ctrl-d': room,
    };
    const by = scroll[chord];
    if (by !== undefined) {
      this.dispatch({ type: 'scroll-dialog', by, last: dialogEnd(dialog, this.size, this.theme) });
      return;
    }
    const close = (then: () => void): void => {
      this.answers = NO_ANSWERS;
      this.dispatch({ type: 'close-dialog' });
      then();
    };
    const { yes, others } = this.answers;
    if (chord === 'esc') {
      close(() => this.say('dim', 'Nothing was changed.'));
      return;
    }
    if (dialog.word === undefined) {
      if (chord === 'y') {
        close(yes);
        return;
      }
      if (chord === 'n' || chord === 'q') {
        close(() => this.say('dim', 'Nothing was changed.'));
        return;
      }
      const other = others[chord];
      if (other !== undefined) close(other);
      return;
    }
    if (chord === 'enter') {
      if (dialog.typed.trim() === dialog.word) close(yes);
      else this.dispatch({ type: 'answer', text: '' });
      return;
    }
    if (chord === 'backspace' || chord === 'delete') {
      this.dispatch({ type: 'answer', text: dialog.typed.slice(0, -1) });
      return;
    }
    const character = characterOf(chord);
    if (character !== undefined && dialog.typed.length < 40)
      this.dispatch({ type: 'answer', text: dialog.typed + character });
  }

  private ask({ title, lines, commands = [], word, yes, others = {} }: Question): void {
    this.answers = { yes, others: Object.fromEntries(Object.entries(others).map(([key, { run }]) => [key, run])) };
    this.dispatch({
      type: 'ask',
      dialog: {
        ...{ id: ++this.dialogs, title, lines, commands, word, typed: '', offset: 0 },
        others: Object.entries(others).map(([key, { help }]) => ({ key, help })),
      },
    });
  }

  private drain(verb: Verb): void {
    const chosen = this.chosen();
    const subject = chosen?.view.subject;
    if (chosen === undefined || (subject !== 'node' && subject !== 'backend')) {
      this.say('bad', `:${verb} is for nodes and backends: choose one in :nodes or :backends`);
      return;
    }
    const { page, row, rows } = chosen;
    const marked = rows.filter(({ id }) => page.marks.has(id));
    this.writes.drain(
      verb,
      subject,
      (marked.length > 0 ? marked : [row]).map(({ item }) => item),
    );
  }

  private edit(): void {
    const object = this.chosenObject();
    if (object === undefined) this.say('bad', 'Choose a service, a guard or a traffic policy to edit.');
    else this.writes.edit(object);
  }

  private chosenObject(): ServiceView | ObjectView | undefined {
    const chosen = this.chosen();
    if (chosen === undefined) return undefined;
    const { view, row } = chosen;
    if (view.subject === 'object') return row.item as ObjectView;
    const service = view.scopeOf?.(row.item).service;
    return service === undefined ? undefined : this.ports.fleet.state.services.get(service);
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

function gone({ title }: TextPage): readonly Line[] {
  return [[piece('warn', `${title} is gone.`)]];
}
