// SPDX-License-Identifier: Apache-2.0
/** Deeds carried out: the form, the plan, the question, what came of it. What was typed is lost by no mistake and no refusal. */
import { AgentError } from '@marcher/client/fleet';
import type { Deed, DeedContext, DeedPlan, FollowingDeed } from '../deeds/deed.js';
import type { Values } from '../store/form.js';
import { messageOf, type Writer } from './writer.js';

const TIMEOUT_MS = 30_000;
/** By these nothing was done; whatever else fails may have been done all the same. */
const REFUSALS = new Set<AgentError['code']>([
  'denied',
  'invalid',
  'conflict',
  'refused',
  'not_found',
  'unimplemented',
]);

export class Doing {
  private readonly writer: Writer;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  begin(deed: Deed, items: readonly object[]): void {
    if (this.writer.isRefused()) return;
    if (deed.form === undefined) this.plan(deed, items, {});
    else this.fill(deed, items);
  }

  /** Shown, asked about, done. again: goes back to what was filled in. */
  offer(plan: DeedPlan, again?: () => void): void {
    const { person } = this.writer;
    const { question, lines, commands, word } = plan;
    const others = again === undefined ? {} : { e: { help: 'change it', run: again } };
    const yes = (): void => this.writer.busy('Doing it ...', () => this.carryOut(plan, again));
    person.ask({ title: question, lines, commands, word, yes, others });
  }

  private fill(deed: Deed, items: readonly object[], values?: Values, problem?: string): void {
    const form = deed.form?.(items, this.context());
    if (form !== undefined) this.writer.person.fill(form, (given) => this.plan(deed, items, given), values, problem);
  }

  private follow(next: FollowingDeed, values?: Values): void {
    const again = (given: Values): void => this.offer(next.plan(given), () => this.follow(next, given));
    this.writer.person.fill(next.form, again, values);
  }

  private plan(deed: Deed, items: readonly object[], values: Values): void {
    this.writer.busy('Planning ...', async () => {
      try {
        const plan = await deed.plan(items, values, this.context());
        this.offer(plan, deed.form === undefined ? undefined : () => this.fill(deed, items, values));
      } catch (error) {
        if (deed.form === undefined) throw error;
        this.fill(deed, items, values, messageOf(error));
      }
    });
  }

  private async carryOut(plan: DeedPlan, again?: () => void): Promise<void> {
    const { person } = this.writer;
    try {
      const { text, secret, undo, next } = await this.writer.write(() => plan.apply({ timeoutMs: TIMEOUT_MS }));
      this.writer.undo =
        undo === undefined
          ? { kind: 'none', why: `The last thing that was done can not be taken back: ${text}` }
          : { kind: 'deed', plan: undo };
      person.done();
      person.say('good', text);
      if (secret !== undefined) {
        const then = (): void => (next === undefined ? person.say('good', text) : this.follow(next));
        const stays = { word: 'done', stays: true, yes: then };
        person.ask({ title: secret.title, lines: secret.lines, ...stays });
      }
    } catch (error) {
      const mayBe = !(error instanceof AgentError && REFUSALS.has(error.code));
      const then = mayBe ? 'It may have been done all the same: look before you try again.' : 'Nothing was changed.';
      person.ask({
        title: 'It was not done',
        lines: [messageOf(error), '', `${then} y tries it once more; n drops it.`],
        yes: () => this.offer(plan, again),
        others: again === undefined ? {} : { e: { help: 'change it', run: again } },
      });
    }
  }

  private context(): DeedContext {
    const { reach, fleet, target, clock } = this.writer.ports;
    return { calls: reach.entry, state: fleet.state, target: { target }, nowMs: clock.nowMs() };
  }
}
