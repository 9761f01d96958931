// SPDX-License-Identifier: Apache-2.0
/** What is done when a command is given, or a key that is one. */
import type { NodeView, ObjectView, ServiceView } from '@marcher/client/fleet';
import type { Verb } from '../actions/drain.js';
import type { Writes } from '../actions/writes.js';
import type { Meaning } from '../commands/interpreter.js';
import type { CommandName } from '../commands/table.js';
import { DEEDS, deedOf } from '../deeds/index.js';
import type { Subject } from '../keys/table.js';
import type { FormFieldSpec } from '../store/form.js';
import { listPage, textPage } from '../store/ui-state.js';
import { timeOfDay } from '../theme/time.js';
import { DASHBOARD, VIEWS } from '../views/index.js';
import type { View } from '../views/view.js';
import type { Desk } from './desk.js';
import type { Filling } from './filling.js';
import type { Navigation } from './navigation.js';
import { seekTime } from './seek-time.js';
import type { SessionKeeping } from './session-keeping.js';

export class Commanding {
  private readonly desk: Desk;
  private readonly writes: Writes;
  private readonly navigation: Navigation;
  private readonly filling: Filling;
  private readonly session: SessionKeeping | undefined;
  private readonly finish: () => void;

  constructor(
    desk: Desk,
    writes: Writes,
    navigation: Navigation,
    filling: Filling,
    session: SessionKeeping | undefined,
    finish: () => void,
  ) {
    this.desk = desk;
    this.writes = writes;
    this.navigation = navigation;
    this.filling = filling;
    this.session = session;
    this.finish = finish;
  }

  /** What was typed. */
  run(meaning: Meaning): void {
    switch (meaning.kind) {
      case 'nothing':
        return;
      case 'faulty':
        this.desk.say('bad', meaning.reason);
        return;
      case 'view': {
        const { view, filter } = meaning;
        const page = view === DASHBOARD.name ? textPage('dashboard', DASHBOARD.name) : listPage(view, {}, filter);
        this.desk.dispatch({ type: 'go', page });
        return;
      }
      case 'command':
        this.command(meaning.command, meaning.argument);
        return;
    }
  }

  command(command: CommandName, argument = ''): void {
    switch (command) {
      case 'quit':
        this.finish();
        return;
      case 'help':
        this.navigation.help();
        return;
      case 'unlock':
      case 'lock':
        this.lock(command === 'lock');
        return;
      case 'login':
        if (this.session === undefined)
          this.desk.say('dim', 'This console is let in by something else than a session.');
        else this.session.ask();
        return;
      case 'pause':
      case 'resume':
        this.desk.hold(command === 'pause');
        return;
      case 'retry':
        this.retryAll();
        return;
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
      case 'seek':
      case 'speed':
        this.play(command, argument);
        return;
      case 'actions':
        this.offerAll();
        return;
      default:
        this.write(command);
    }
  }

  /** One of the commands that change something. */
  private write(command: CommandName): void {
    const view = this.desk.view();
    const subject = view?.subject ?? 'other';
    if (view !== undefined && (subject === 'service' || subject === 'object') && this.writeObjects(command, view))
      return;
    const deed = deedOf(command, subject);
    if (deed === undefined) {
      this.desk.say(
        'bad',
        `:${command} is not for ${view === undefined ? 'this page' : `:${view.name}`}. ${whereFor(command)}`,
      );
      return;
    }
    const items = this.desk.chosen()?.items ?? [];
    if (deed.isOfNone !== true && items.length === 0) this.desk.say('bad', `There is nothing to ${command} here.`);
    else if (deed.isOfNone !== true && deed.isOfMany !== true && items.length > 1)
      this.desk.say('bad', `:${command} is for one at a time: Esc takes the marks away.`);
    else this.writes.do(deed, items);
  }

  private writeObjects(command: CommandName, view: View): boolean {
    const { objects } = this.writes;
    if (command === 'new') objects.make(kindOf(view));
    else if (command === 'delete') objects.remove(this.chosenObjects());
    else if (command === 'copy') {
      const object = this.chosenObject();
      if (object === undefined) this.desk.say('bad', 'There is nothing to copy here.');
      else objects.copy(object);
    } else return false;
    return true;
  }

  /** A form with one choice: what can be done here. */
  private offerAll(): void {
    const view = this.desk.view();
    const all = view === undefined ? [] : actionsOn(view.subject);
    const [first] = all;
    if (view === undefined || first === undefined) {
      this.desk.say('dim', 'Nothing can be done here but looking.');
      return;
    }
    const chosen = this.desk.chosen();
    const field: FormFieldSpec = {
      ...{ kind: 'choice', name: 'action', label: 'do', choices: all.map(({ command }) => command), hint: first.help },
      helps: Object.fromEntries(all.map(({ command, help }) => [command, help])),
    };
    const title = chosen === undefined ? view.name : `${view.name}: ${view.label(chosen.item)}`;
    this.filling.fill({ title, fields: [field] }, ({ action }) => this.command(action as CommandName));
  }

  /** Of the chosen node alone. */
  retry(): void {
    const chosen = this.desk.chosen();
    if (chosen?.view.subject !== 'node') return;
    const { key, name, link } = chosen.item as NodeView;
    if (link.kind === 'live') {
      this.desk.say('dim', `${name} answers: there is nothing to ask again.`);
      return;
    }
    this.desk.ports.fleet.retry(key);
    this.desk.say('normal', `${name} is asked again.`);
  }

  private retryAll(): void {
    const { fleet } = this.desk.ports;
    const away = [...fleet.state.nodes.values()].filter(({ link }) => link.kind === 'stale' || link.kind === 'refused');
    for (const { key } of away) fleet.retry(key);
    const names = away.map(({ name }) => name).join(', ');
    this.desk.say('normal', away.length === 0 ? 'All nodes answer.' : `Asked again: ${names}`);
  }

  /** Of a recording. */
  private play(command: 'seek' | 'speed', argument: string): void {
    const { player } = this.desk.ports;
    if (player === undefined) {
      this.desk.say('bad', `:${command} is for a recording: marcher --replay FILE`);
      return;
    }
    try {
      if (command === 'seek') {
        player.seek(seekTime(argument, player));
        this.desk.say(
          'dim',
          `${timeOfDay(player.positionMs)} of ${timeOfDay(player.startMs)} to ${timeOfDay(player.endMs)}`,
        );
      } else {
        const wanted = Number(argument);
        if (!(wanted > 0)) throw new Error(`the speed is "${argument}": expected a number from 0.1 to 100`);
        this.desk.say('dim', `${player.setSpeed(wanted)} times as fast as it was.`);
      }
    } catch (error) {
      this.desk.say('bad', (error as Error).message);
    }
  }

  private lock(locked: boolean): void {
    const { readOnly } = this.desk.ports;
    if (readOnly !== undefined) {
      this.desk.say('warn', readOnly);
      return;
    }
    this.writes.setUnlocked(!locked);
    this.desk.dispatch({ type: 'unlock', unlocked: !locked });
    this.desk.say(
      'normal',
      locked ? 'Nothing can be changed from here now.' : 'This console may change things now, until :lock.',
    );
  }

  private sortBy(argument: string): void {
    const { page } = this.desk;
    const columns = VIEWS.get(page.kind === 'list' ? page.view : '')?.columns ?? [];
    const column = columns.find(({ title }) => title.toLowerCase() === argument.toLowerCase());
    if (column !== undefined) {
      this.desk.dispatch({ type: 'sort', column: column.title });
      return;
    }
    const known = columns.map(({ title }) => title).join(', ');
    this.desk.say('bad', known === '' ? 'There are no columns here.' : `There is no column "${argument}": ${known}`);
  }

  private drain(verb: Verb): void {
    const chosen = this.desk.chosen();
    const subject = chosen?.view.subject;
    if (subject !== 'node' && subject !== 'backend')
      this.desk.say('bad', `:${verb} is for nodes and backends: choose one in :nodes or :backends`);
    else this.writes.drain(verb, subject, chosen?.items ?? []);
  }

  private edit(): void {
    const object = this.chosenObject();
    if (object === undefined) this.desk.say('bad', 'Choose a service, a guard or a traffic policy to edit.');
    else this.writes.objects.edit(object);
  }

  private chosenObject(): ServiceView | ObjectView | undefined {
    const chosen = this.desk.chosen();
    return chosen === undefined ? undefined : this.objectOf(chosen.view, chosen.item);
  }

  private chosenObjects(): readonly (ServiceView | ObjectView)[] {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return [];
    // Two listeners may be of one service.
    return [...new Set(chosen.items.flatMap((item) => this.objectOf(chosen.view, item) ?? []))];
  }

  /** Of a row: itself, or the service that it is a part of. */
  private objectOf(view: View, item: object): ServiceView | ObjectView | undefined {
    if (view.subject === 'object') return item as ObjectView;
    const service = view.scopeOf?.(item).service;
    return service === undefined ? undefined : this.desk.ports.fleet.state.services.get(service);
  }
}

/** Of what the view lists. */
function kindOf({ name, subject }: View): 'Service' | 'Guard' | 'TrafficPolicy' {
  return subject === 'service' ? 'Service' : name === 'guards' ? 'Guard' : 'TrafficPolicy';
}

interface Offered {
  readonly command: CommandName;
  readonly help: string;
}

/** Beside the deeds. */
const OF_OBJECTS: readonly Offered[] = [
  { command: 'edit', help: 'change it in $EDITOR' },
  { command: 'new', help: 'one more, from a template in $EDITOR' },
  { command: 'copy', help: 'another one like it, in $EDITOR' },
  { command: 'delete', help: 'delete it, or what is marked' },
];
const OF_BACKENDS: readonly Offered[] = [
  { command: 'drain', help: 'no new connections for it' },
  { command: 'undrain', help: 'new connections again' },
];
const OWN: Readonly<Partial<Record<Subject, readonly Offered[]>>> = {
  ...{
    service: OF_OBJECTS,
    object: OF_OBJECTS,
    node: OF_BACKENDS,
    backend: [...OF_BACKENDS, ...OF_OBJECTS.slice(0, 1)],
  },
};

function actionsOn(subject: Subject): readonly Offered[] {
  return [...(OWN[subject] ?? []), ...DEEDS.filter((deed) => deed.subject === subject)];
}

/** Where a command would be for something. */
function whereFor(command: CommandName): string {
  const subjects = new Set(
    [...VIEWS.values()]
      .filter(({ subject }) => actionsOn(subject).some((each) => each.command === command))
      .map(({ name }) => `:${name}`),
  );
  return subjects.size === 0 ? '' : `It is for ${[...subjects].join(', ')}.`;
}
