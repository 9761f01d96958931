// SPDX-License-Identifier: Apache-2.0
/** What is done when a command is given, or a key that is one. */
import type { NodeView, ObjectView, ServiceView } from '@marcher/client/fleet';
import type { Verb } from '../actions/drain.js';
import type { Writes } from '../actions/writes.js';
import type { Meaning } from '../commands/interpreter.js';
import type { CommandName } from '../commands/table.js';
import { listPage, textPage } from '../store/ui-state.js';
import { DASHBOARD, VIEWS } from '../views/index.js';
import type { Desk } from './desk.js';
import type { Navigation } from './navigation.js';

export class Commanding {
  private readonly desk: Desk;
  private readonly writes: Writes;
  private readonly navigation: Navigation;
  private readonly finish: () => void;

  constructor(desk: Desk, writes: Writes, navigation: Navigation, finish: () => void) {
    this.desk = desk;
    this.writes = writes;
    this.navigation = navigation;
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
    }
  }

  /** Of the chosen node alone. */
  retry(): void {
    const chosen = this.desk.chosen();
    if (chosen?.view.subject !== 'node') return;
    const { key, name, link } = chosen.row.item as NodeView;
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

  private lock(locked: boolean): void {
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
    const subject = this.desk.chosen()?.view.subject;
    if (subject !== 'node' && subject !== 'backend')
      this.desk.say('bad', `:${verb} is for nodes and backends: choose one in :nodes or :backends`);
    else this.writes.drain(verb, subject, this.desk.chosenItems());
  }

  private edit(): void {
    const object = this.chosenObject();
    if (object === undefined) this.desk.say('bad', 'Choose a service, a guard or a traffic policy to edit.');
    else this.writes.edit(object);
  }

  private chosenObject(): ServiceView | ObjectView | undefined {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return undefined;
    const { view, row } = chosen;
    if (view.subject === 'object') return row.item as ObjectView;
    const service = view.scopeOf?.(row.item).service;
    return service === undefined ? undefined : this.desk.ports.fleet.state.services.get(service);
  }
}
