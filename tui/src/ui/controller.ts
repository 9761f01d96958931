// SPDX-License-Identifier: Apache-2.0
/** The console itself, without a terminal: keys go in, lines come out. Which part of it a key is for is decided here. */
import { Writes } from './actions/writes.js';
import type { Size } from './components/frame.js';
import { Asking } from './desk/asking.js';
import { Commanding } from './desk/commanding.js';
import { Desk } from './desk/desk.js';
import { Filling } from './desk/filling.js';
import { Navigation } from './desk/navigation.js';
import { Prompting } from './desk/prompting.js';
import { SessionKeeping } from './desk/session-keeping.js';
import { type Action, bindingOf, placeOf } from './keys/table.js';
import type { ConsolePorts } from './ports.js';
import { type Page, textPage } from './store/ui-state.js';
import type { Theme } from './theme/theme.js';

/** How time-dependent texts are brought up to date. */
const TICK_MS = 1_000;

export class Controller {
  /** Settles when the operator has had enough. */
  readonly done: Promise<void>;
  /** Set by whoever draws: the whole screen is to be written again. */
  onRedraw: () => void = () => undefined;
  readonly subscribe: Desk['subscribe'];
  readonly lines: Desk['lines'];

  private readonly ports: ConsolePorts;
  private readonly desk: Desk;
  private readonly asking: Asking;
  private readonly filling: Filling;
  private readonly writes: Writes;
  private readonly navigation: Navigation;
  private readonly commanding: Commanding;
  private readonly prompting: Prompting;
  private readonly finish: () => void;
  private readonly session: SessionKeeping | undefined;
  private endings: (() => void)[] = [];

  constructor(ports: ConsolePorts, theme: Theme, size: Size, first: Page = textPage('dashboard', 'dashboard')) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.done = promise;
    this.finish = resolve;
    this.ports = ports;
    const desk = new Desk(ports, theme, size, first);
    this.desk = desk;
    this.subscribe = desk.subscribe;
    this.lines = desk.lines;
    this.asking = new Asking(desk);
    this.filling = new Filling(desk);
    this.writes = new Writes(ports, {
      say: (tone, text) => desk.say(tone, text),
      ask: (question) => this.asking.ask(question),
      fill: (form, submit, values, problem) => this.filling.fill(form, submit, values, problem),
      done: () => {
        desk.dispatch({ type: 'clear-marks' });
        desk.feed.renew(desk.ui.pages);
      },
    });
    if (ports.session !== undefined) this.session = new SessionKeeping(desk, this.filling, ports.session);
    desk.warning = () => this.session?.banner;
    this.navigation = new Navigation(desk);
    this.commanding = new Commanding(desk, this.writes, this.navigation, this.filling, this.session, resolve);
    this.prompting = new Prompting(desk, (meaning) => this.commanding.run(meaning));
  }

  start(): void {
    this.endings.push(this.ports.fleet.subscribe(() => this.desk.draw()));
    const tick = (): void => {
      if (this.desk.ui.unlocked && !this.writes.isUnlocked) this.desk.dispatch({ type: 'unlock', unlocked: false });
      this.desk.draw();
      cancel = this.ports.clock.after(TICK_MS, tick);
    };
    let cancel = this.ports.clock.after(TICK_MS, tick);
    this.endings.push(() => cancel());
    this.desk.open();
    this.session?.start();
  }

  close(): void {
    this.session?.close();
    this.desk.close();
    for (const end of this.endings) end();
    this.endings = [];
  }

  resize(size: Size): void {
    this.desk.resize(size);
  }

  press(chord: string): void {
    if (chord === 'ctrl-c') this.finish();
    else if (chord === 'ctrl-l') this.onRedraw();
    else if (chord === 'ctrl-z') this.ports.suspend();
    else if (this.desk.ui.dialog !== undefined) this.asking.press(chord);
    else if (this.desk.ui.form !== undefined) this.filling.press(chord);
    else if (this.desk.ui.prompt !== undefined) this.prompting.press(chord);
    else this.pressPage(chord);
  }

  paste(text: string): void {
    const { dialog, form, prompt } = this.desk.ui;
    if (dialog === undefined && form !== undefined) this.filling.paste(text);
    else if (dialog === undefined && prompt !== undefined) this.desk.dispatch({ type: 'type', text });
    // What is pasted by mistake is no command: into a question it is no answer either.
  }

  /** What is wrong outside of the console's own doing. */
  complain(text: string): void {
    this.desk.say('bad', text);
  }

  private pressPage(chord: string): void {
    const { desk } = this;
    const view = desk.view();
    const binding = bindingOf(chord, placeOf(desk.page), view?.subject ?? 'other');
    if (binding !== undefined) {
      this.act(binding.action);
      return;
    }
    const column = desk.page.kind === 'list' ? view?.columns.find(({ key }) => key === chord) : undefined;
    if (column !== undefined) desk.dispatch({ type: 'sort', column: column.title });
  }

  private act(action: Action): void {
    const { desk, navigation, commanding } = this;
    switch (action.do) {
      case 'move':
        desk.dispatch({ type: 'move', motion: action.motion, shown: desk.shown() });
        return;
      case 'mark':
        desk.dispatch({ type: 'mark', shown: desk.shown() });
        return;
      case 'command':
      case 'filter':
        desk.dispatch({ type: 'prompt', mode: action.do });
        return;
      case 'help':
        navigation.help();
        return;
      case 'back':
        desk.dispatch({ type: 'back' });
        return;
      case 'leave':
        if (desk.ui.pages.length > 1) desk.dispatch({ type: 'leave' });
        else this.finish();
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
        desk.hold(!this.ports.fleet.state.paused);
        return;
      case 'earlier':
      case 'later':
        commanding.command('seek', action.do === 'earlier' ? '-10s' : '+10s');
        return;
      case 'retry':
        commanding.retry();
        return;
      case 'detail':
        navigation.detail();
        return;
      case 'yaml':
      case 'explain':
      case 'tree':
        navigation.text(action.do);
        return;
      case 'backends':
      case 'services':
      case 'connections':
      case 'logs':
        navigation.scoped(action.do);
        return;
      case 'edit':
      case 'drain':
      case 'undrain':
      case 'new':
      case 'copy':
      case 'delete':
      case 'actions':
        commanding.command(action.do);
        return;
    }
  }
}
