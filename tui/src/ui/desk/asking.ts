// SPDX-License-Identifier: Apache-2.0
/** Questions: what is asked before something is done, and what each answer does. */
import type { Question } from '../actions/writer.js';
import { dialogEnd, dialogRoom } from '../components/frame.js';
import { characterOf } from '../keys/chord.js';
import type { Desk } from './desk.js';

interface Answers {
  readonly yes: () => void;
  readonly others: Readonly<Record<string, () => void>>;
}

const NO_ANSWERS: Answers = { yes: () => undefined, others: {} };
/** Of an answer that is typed. */
const TYPED_MAX = 80;

export class Asking {
  private readonly desk: Desk;
  private answers: Answers = NO_ANSWERS;
  private asked = 0;

  constructor(desk: Desk) {
    this.desk = desk;
  }

  ask({ title, lines, commands = [], word, stays = false, yes, others = {} }: Question): void {
    this.answers = { yes, others: Object.fromEntries(Object.entries(others).map(([key, { run }]) => [key, run])) };
    this.desk.dispatch({
      type: 'ask',
      dialog: {
        ...{ id: ++this.asked, title, lines, commands, word, stays, typed: '', offset: 0 },
        others: Object.entries(others).map(([key, { help }]) => ({ key, help })),
      },
    });
  }

  press(chord: string): void {
    const { desk } = this;
    const { dialog } = desk.ui;
    if (dialog === undefined) return;
    const by = this.scrolledBy(chord);
    if (by !== undefined) {
      desk.dispatch({ type: 'scroll-dialog', by, last: dialogEnd(dialog, desk.size, desk.theme) });
      return;
    }
    const { yes, others } = this.answers;
    if (chord === 'esc') {
      if (!dialog.stays) this.close(() => desk.say('dim', 'Nothing was changed.'));
      return;
    }
    if (dialog.word === undefined) {
      const other = others[chord];
      if (chord === 'y') this.close(yes);
      else if (chord === 'n' || chord === 'q') this.close(() => desk.say('dim', 'Nothing was changed.'));
      else if (other !== undefined) this.close(other);
      return;
    }
    if (chord === 'enter') {
      if (dialog.typed.trim() === dialog.word) this.close(yes);
      else desk.dispatch({ type: 'answer', text: '' });
      return;
    }
    if (chord === 'backspace' || chord === 'delete') {
      desk.dispatch({ type: 'answer', text: dialog.typed.slice(0, -1) });
      return;
    }
    const character = characterOf(chord);
    if (character !== undefined && dialog.typed.length < TYPED_MAX)
      desk.dispatch({ type: 'answer', text: dialog.typed + character });
  }

  private scrolledBy(chord: string): number | undefined {
    const room = dialogRoom(this.desk.size);
    const scroll: Readonly<Record<string, number>> = {
      ...{ up: -1, down: 1, pgup: -room, pgdn: room },
      ...{ 'ctrl-u': -room, 'ctrl-d': room },
    };
    return scroll[chord];
  }

  private close(then: () => void): void {
    this.answers = NO_ANSWERS;
    this.desk.dispatch({ type: 'close-dialog' });
    then();
  }
}
