// SPDX-License-Identifier: Apache-2.0
/** The line that is typed behind ":" and "/": its keys, and what Tab and Enter make of it. */
import { completed, completions, interpret, type Meaning } from '../commands/interpreter.js';
import { characterOf } from '../keys/chord.js';
import { VIEW_NAMES, VIEWS } from '../views/index.js';
import type { Desk } from './desk.js';

export class Prompting {
  private readonly desk: Desk;
  private readonly run: (meaning: Meaning) => void;

  /** run: what a command that was typed means. */
  constructor(desk: Desk, run: (meaning: Meaning) => void) {
    this.desk = desk;
    this.run = run;
    desk.suggestions = () => this.suggestions();
  }

  press(chord: string): void {
    const { desk } = this;
    const { prompt } = desk.ui;
    switch (chord) {
      case 'esc':
        desk.dispatch({ type: 'cancel' });
        return;
      case 'enter':
        this.accept();
        return;
      case 'tab':
        if (prompt?.mode === 'command')
          desk.dispatch({ type: 'replace-prompt', text: completed(prompt.text, this.suggestions()) });
        return;
      case 'up':
      case 'down':
        desk.dispatch({ type: 'recall', by: chord === 'up' ? 1 : -1 });
        return;
      case 'left':
      case 'right':
        desk.dispatch({ type: 'cursor', to: chord });
        return;
      case 'home':
      case 'ctrl-a':
        desk.dispatch({ type: 'cursor', to: 'start' });
        return;
      case 'end':
      case 'ctrl-e':
        desk.dispatch({ type: 'cursor', to: 'end' });
        return;
      case 'backspace':
      case 'delete':
        // On an empty line there is nothing to take away but the line.
        desk.dispatch(prompt?.text === '' ? { type: 'cancel' } : { type: 'erase', what: 'character' });
        return;
      case 'ctrl-w':
        desk.dispatch({ type: 'erase', what: 'word' });
        return;
      case 'ctrl-u':
        desk.dispatch({ type: 'erase', what: 'all' });
        return;
      default: {
        const text = characterOf(chord);
        if (text !== undefined) desk.dispatch({ type: 'type', text });
      }
    }
  }

  private accept(): void {
    const { prompt } = this.desk.ui;
    this.desk.dispatch({ type: 'accept' });
    if (prompt?.mode === 'command') this.run(interpret(prompt.text, VIEW_NAMES));
  }

  private suggestions(): readonly string[] {
    return completions(this.desk.ui.prompt?.text ?? '', VIEW_NAMES, (name) => this.values(name));
  }

  /** What may follow a view or a command. */
  private values(name: string): readonly string[] {
    const { page } = this.desk;
    const { services, nodes } = this.desk.ports.fleet.state;
    if (name === 'sort')
      return (VIEWS.get(page.kind === 'list' ? page.view : '')?.columns ?? []).map(({ title }) => title);
    if (name === 'services' || name === 'backends' || name === 'listeners') return [...services.keys()];
    if (name === 'nodes' || name === 'mesh') return [...nodes.values()].map(({ name: own }) => own);
    return [];
  }
}
