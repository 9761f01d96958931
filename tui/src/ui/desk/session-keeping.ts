// SPDX-License-Identifier: Apache-2.0
/**
 * Has the session that the console is let in by begun anew by whoever is at the terminal when it is over. What is on the screen
 * stays there meanwhile.
 */
import { type SessionPhase, SessionWatch } from '@marcher/client/session-watch';
import { messageOf } from '../actions/writer.js';
import type { ConsoleSession } from '../ports.js';
import type { FormFieldSpec } from '../store/form.js';
import { timeOfDay } from '../theme/time.js';
import type { Desk } from './desk.js';
import type { Filling } from './filling.js';

const USER: FormFieldSpec = {
  kind: 'text',
  name: 'user',
  label: 'user',
  hint: 'Esc: go on without; :login asks again',
};

export class SessionKeeping {
  private readonly desk: Desk;
  private readonly filling: Filling;
  private readonly session: ConsoleSession;
  private readonly watch: SessionWatch;
  private isAsked = false;
  private isWarned = false;
  private isClosed = false;

  constructor(desk: Desk, filling: Filling, session: ConsoleSession) {
    this.desk = desk;
    this.filling = filling;
    this.session = session;
    const { fleet, reach, clock } = desk.ports;
    const looked = (phase: SessionPhase, isNews: boolean): void => this.looked(phase, isNews);
    this.watch = new SessionWatch({ session, fleet, reach, clock, looked });
  }

  /** For the header. */
  get banner(): string | undefined {
    if (this.watch.phase !== 'over') return undefined;
    return this.session.user() === undefined ? 'NOBODY IS LOGGED IN' : 'SESSION OVER';
  }

  start(): void {
    this.watch.start();
  }

  close(): void {
    this.isClosed = true;
    this.watch.close();
  }

  /** Asks whoever is there. values: what was given before; problem: why it was not enough. */
  ask(values: Readonly<Record<string, string>> = {}, problem = ''): void {
    const user = this.session.user();
    this.isAsked = true;
    this.filling.fill(
      {
        title: this.title(user),
        fields: [
          ...(user === undefined ? [USER] : []),
          {
            kind: 'secret',
            name: 'password',
            label: user === undefined ? 'password' : `password of ${user}`,
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
      ({ user: given = '', password = '', code = '' }) => void this.login(user ?? given.trim(), password, code),
      values,
      problem,
    );
  }

  private title(user: string | undefined): string {
    if (user === undefined) return `Nobody is logged in at ${this.desk.ports.target}`;
    return this.watch.phase === 'over'
      ? `The session of ${user} is over: log in again`
      : `Begin another session of ${user}`;
  }

  private looked(phase: SessionPhase, isNews: boolean): void {
    if (isNews) {
      if (phase !== 'over') this.isAsked = false;
      this.desk.draw();
    }
    const { dialog, form, prompt } = this.desk.ui;
    // Who is in the middle of something is asked afterwards.
    if (dialog !== undefined || form !== undefined || prompt !== undefined) return;
    if (phase === 'over') {
      if (!this.isAsked) this.ask();
    } else if (phase === 'ending' && !this.isWarned) {
      this.isWarned = true;
      this.desk.say(
        'warn',
        `The session ends at ${timeOfDay(this.session.endsMs())} whatever is done: :login begins another.`,
      );
    }
  }

  private async login(user: string, password: string, code: string): Promise<void> {
    this.desk.say('dim', 'Logging in ...');
    try {
      await this.session.login({ user, password, code });
    } catch (error) {
      if (!this.isClosed) this.ask({ user }, messageOf(error));
      return;
    }
    this.watch.begun();
    this.isAsked = false;
    this.isWarned = false;
    const { fleet } = this.desk.ports;
    for (const { key, link } of fleet.state.nodes.values()) if (link.kind !== 'live') fleet.retry(key);
    this.desk.feed.renew(this.desk.ui.pages);
    this.desk.say('good', `The session of ${user} goes on until ${timeOfDay(this.session.endsMs())}.`);
  }
}
