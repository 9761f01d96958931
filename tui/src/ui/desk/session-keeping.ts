// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the session that the console is let in by: renewed while nobody calls, too, and begun anew by whoever is at the terminal
 * when it is over. What is on the screen stays there meanwhile.
 *
 *   good ──renewed──▶ good ──12 hours, ended by somebody, agent away for too long──▶ over ──password──▶ good
 */
import { AgentError } from '@marcher/client/fleet';
import { messageOf } from '../actions/writer.js';
import type { ConsoleSession } from '../ports.js';
import { timeOfDay } from '../theme/time.js';
import type { Desk } from './desk.js';
import type { Filling } from './filling.js';

const LOOK_MS = 15_000;
/** Before it can't be renewed any more. */
const WARN_MS = 5 * 60_000;
const ASK_MS = 10_000;

export class SessionKeeping {
  private readonly desk: Desk;
  private readonly filling: Filling;
  private readonly session: ConsoleSession;
  private cancel = (): void => undefined;
  private isOver = false;
  private isAsked = false;
  private isWarned = false;
  private isClosed = false;

  constructor(desk: Desk, filling: Filling, session: ConsoleSession) {
    this.desk = desk;
    this.filling = filling;
    this.session = session;
  }

  /** For the header. */
  get banner(): string | undefined {
    return this.isOver ? 'SESSION OVER' : undefined;
  }

  start(): void {
    this.again();
  }

  close(): void {
    this.isClosed = true;
    this.cancel();
  }

  /** Asks whoever is there. problem: why it was not begun before. */
  ask(problem = ''): void {
    const { user } = this.session;
    this.isAsked = true;
    this.filling.fill(
      {
        title: this.isOver ? `The session of ${user} is over: log in again` : `Begin another session of ${user}`,
        fields: [
          {
            kind: 'secret',
            name: 'password',
            label: `password of ${user}`,
            hint: 'Esc: go on without; :login asks again',
          },
          {
            kind: 'secret',
            name: 'code',
            label: 'code',
            hint: 'of the second factor, or a recovery code; without one nothing',
          },
        ],
      },
      ({ password = '', code = '' }) => void this.login(password, code.trim()),
      {},
      problem,
    );
  }

  private again(): void {
    this.cancel = this.desk.ports.clock.after(LOOK_MS, () => {
      void this.look().finally(() => {
        if (!this.isClosed) this.again();
      });
    });
  }

  private async look(): Promise<void> {
    const { clock } = this.desk.ports;
    let isOver = false;
    try {
      await this.session.keep();
      isOver = await this.isRefused();
    } catch (error) {
      isOver = clock.nowMs() >= this.session.expiresMs() || (error instanceof AgentError && error.code === 'denied');
    }
    if (this.isClosed) return;
    if (isOver !== this.isOver) {
      this.isOver = isOver;
      if (!isOver) this.isAsked = false;
      this.desk.draw();
    }
    const { dialog, form, prompt } = this.desk.ui;
    const isBusy = dialog !== undefined || form !== undefined || prompt !== undefined;
    if (isOver) {
      // Who is in the middle of something is asked afterwards.
      if (!this.isAsked && !isBusy) this.ask();
    } else if (clock.nowMs() >= this.session.endsMs() - WARN_MS && !this.isWarned && !isBusy) {
      this.isWarned = true;
      this.desk.say(
        'warn',
        `The session ends at ${timeOfDay(this.session.endsMs())} whatever is done: :login begins another.`,
      );
    }
  }

  /** Somebody has ended it: by its times it is good, and the agent wants it no more. */
  private async isRefused(): Promise<boolean> {
    const { fleet, reach } = this.desk.ports;
    const entry = [...fleet.state.nodes.values()].find(({ isEntry }) => isEntry);
    if (entry?.link.kind !== 'refused') return false;
    try {
      await reach.entry.access.whoAmI({}, { timeoutMs: ASK_MS });
      return false;
    } catch (error) {
      return error instanceof AgentError && error.code === 'denied';
    }
  }

  private async login(password: string, code: string): Promise<void> {
    this.desk.say('dim', 'Logging in ...');
    try {
      await this.session.login(password, code);
    } catch (error) {
      if (!this.isClosed) this.ask(messageOf(error));
      return;
    }
    this.isOver = false;
    this.isAsked = false;
    this.isWarned = false;
    const { fleet } = this.desk.ports;
    for (const { key, link } of fleet.state.nodes.values()) if (link.kind !== 'live') fleet.retry(key);
    this.desk.feed.renew(this.desk.ui.pages);
    this.desk.say('good', `The session of ${this.session.user} goes on until ${timeOfDay(this.session.endsMs())}.`);
  }
}
