// SPDX-License-Identifier: Apache-2.0
/** What the console does to a mesh: asked first, shown as a command, one thing at a time, and only while it is unlocked. */
import type { UndoDraft } from '@marcher/client/actions';
import type { BackendView, NodeView } from '@marcher/client/fleet';
import type { Deed } from '../deeds/deed.js';
import type { ConsolePorts } from '../ports.js';
import { diffTexts } from './diff-text.js';
import { Doing } from './doing.js';
import { carryOut, drainBackends, drainNodes, type Verb } from './drain.js';
import { ObjectEdits } from './object-edits.js';
import { faults, type Person, Writer } from './writer.js';

export class Writes {
  readonly objects: ObjectEdits;
  private readonly writer: Writer;
  private readonly doing: Doing;

  constructor(ports: ConsolePorts, person: Person) {
    this.writer = new Writer(ports, person);
    this.objects = new ObjectEdits(this.writer);
    this.doing = new Doing(this.writer);
  }

  get isUnlocked(): boolean {
    return this.writer.isUnlocked;
  }

  setUnlocked(unlocked: boolean): void {
    this.writer.setUnlocked(unlocked);
  }

  do(deed: Deed, items: readonly object[]): void {
    this.doing.begin(deed, items);
  }

  drain(verb: Verb, subject: 'node' | 'backend', items: readonly object[]): void {
    const { writer } = this;
    if (writer.isRefused()) return;
    const { fleet, reach, target } = writer.ports;
    const plan =
      subject === 'node'
        ? drainNodes(verb, items as readonly NodeView[], fleet.state, reach)
        : drainBackends(verb, items as readonly BackendView[], fleet.state, reach);
    if (plan.drafts.length === 0) {
      writer.person.say('bad', 'No node that could be told is live: nothing was changed.');
      return;
    }
    writer.person.ask({
      ...{ title: plan.title, word: plan.word },
      lines: plan.lines,
      commands: plan.drafts.flatMap((draft) => draft.asCommand({ target }).split('\n')),
      yes: () =>
        writer.busy('Telling them ...', async () => {
          const { ok, text } = await writer.write(() => carryOut(verb, plan));
          const back = verb === 'drain' ? 'u' : 'd';
          writer.undo = {
            kind: 'none',
            why: `The last thing was to ${verb}: ${back} takes it back where it was done.`,
          };
          writer.person.done();
          writer.person.say(ok ? 'good' : 'bad', text);
        }),
    });
  }

  undoLast(): void {
    const { writer } = this;
    if (writer.isRefused()) return;
    const { undo } = writer;
    if (undo.kind === 'none') writer.person.say('bad', undo.why);
    else if (undo.kind === 'deed')
      writer.busy('Planning ...', async () => {
        const plan = await undo.plan();
        this.doing.offer(plan);
      });
    else writer.busy('Planning ...', () => this.undoObjects(undo.draft));
  }

  private async undoObjects(undo: UndoDraft): Promise<void> {
    const { person, ports } = this.writer;
    const plan = await undo.plan();
    if (plan.isEmpty) return person.say('dim', 'It is as it was before already.');
    if (!plan.canApply) return person.say('bad', `It can not be taken back: ${[plan.why, ...faults(plan)].join('; ')}`);
    const apply = async (): Promise<void> => {
      const { version } = await this.writer.write(() => undo.apply(plan));
      this.writer.undo = { kind: 'none', why: 'The last change was taken back already: :history lists versions.' };
      person.done();
      person.say('good', `Applied version ${version}: it is as it was before.`);
    };
    const lines = [plan.why, '', ...diffTexts(plan.diffs)];
    this.writer.confirm(undo.confirmation, lines, undo.asCommand(plan, ports), () =>
      this.writer.busy('Applying ...', apply),
    );
  }
}
