// SPDX-License-Identifier: Apache-2.0
/** Services, guards and traffic policies: changed, made and copied in an editor, deleted. Planned, shown, applied to that version. */
import { type Edit, EditDraft, type EditPlan, UndoDraft } from '@marcher/client/actions';
import type { ObjectView, ServiceView } from '@marcher/client/fleet';
import { copyOf, templateOf, yamlOf } from '../views/yaml.js';
import { diffTexts } from './diff-text.js';
import { readEdits } from './edits.js';
import { faults, messageOf, type Writer } from './writer.js';

export type Editable = ServiceView | ObjectView;

/** What a text is written for. */
interface Task {
  /** Of the file. */
  readonly name: string;
  /** What is edited; undefined: something new is made. */
  readonly object: Editable | undefined;
  /** What is said where nothing was written. */
  readonly left: string;
}

export class ObjectEdits {
  private readonly writer: Writer;

  constructor(writer: Writer) {
    this.writer = writer;
  }

  edit(object: Editable): void {
    const original = this.textOf(object, yamlOf);
    if (original !== undefined)
      this.write(original, { name: object.name, object, left: `${object.name} was left as it is.` });
  }

  make(kind: Editable['kind']): void {
    if (!this.writer.isRefused())
      this.write(templateOf(kind), { name: 'new', object: undefined, left: 'Nothing was made.' });
  }

  copy(object: Editable): void {
    const text = this.textOf(object, copyOf);
    if (text !== undefined) this.write(text, { name: object.name, object: undefined, left: 'Nothing was made.' });
  }

  remove(objects: readonly Editable[]): void {
    if (this.writer.isRefused()) return;
    const edits = objects.map(
      (object) => ({ kind: object.kind, name: object.name, before: object.declared, after: undefined }) as Edit,
    );
    const unknown = objects.find(({ declared }) => declared === undefined);
    if (unknown !== undefined) this.notYet(unknown);
    else if (edits.length > 0)
      this.writer.busy('Planning ...', async () => {
        const draft = new EditDraft(this.writer.ports.reach.entry, edits);
        const plan = await draft.plan();
        const { person } = this.writer;
        if (plan.isEmpty) person.say('dim', 'It is gone already.');
        else if (!plan.canApply)
          person.say('bad', `Nothing was changed: ${[...whyNot(plan), ...faults(plan)].join('; ')}`);
        else this.offer(draft, plan, (title, lines) => person.say('bad', [title, ...lines].join(': ')));
      });
  }

  private textOf(object: Editable, print: (object: Editable) => string | undefined): string | undefined {
    if (this.writer.isRefused()) return undefined;
    const text = print(object);
    if (text === undefined) this.notYet(object);
    return text;
  }

  private notYet({ name }: Editable): void {
    this.writer.person.say('bad', `No node has said yet what ${name} declares: try again in a moment.`);
  }

  /** draft: what was written before, and not applied. */
  private write(original: string, task: Task, draft?: string): void {
    if (this.writer.isRefused()) return;
    this.writer.busy('', async () => {
      // What was written before and is left as it is now is still to be planned.
      const text = (await this.writer.ports.editor(draft ?? original, task.name)) ?? draft;
      if (text === undefined) this.writer.person.say('dim', task.left);
      else await this.plan(text, original, task);
    });
  }

  private async plan(text: string, original: string, task: Task): Promise<void> {
    const { person, ports } = this.writer;
    const again = { e: { help: 'edit again', run: () => this.write(original, task, text) } };
    const failed = (title: string, lines: readonly string[]): void =>
      person.ask({
        ...{ title, others: again },
        lines: [...lines, '', 'e edits it again, as it was written; y plans it once more; n drops it.'],
        yes: () => this.writer.busy('', () => this.plan(text, original, task)),
      });
    const read = readEdits(text, task.object, ports.fleet.state);
    if (read.edits === undefined) return failed('It is not valid; nothing was changed', read.problems);
    if (read.edits.length === 0) return person.say('dim', `Nothing was left in it. ${task.left}`);
    person.say('dim', 'Planning ...');
    const draft = new EditDraft(ports.reach.entry, read.edits);
    let plan: EditPlan;
    try {
      plan = await draft.plan();
    } catch (error) {
      return failed('It could not be planned; nothing was changed', [messageOf(error)]);
    }
    if (plan.isEmpty) return person.say('dim', `${draft.title}: it already is as it was written.`);
    if (plan.violations.length > 0) return failed('It is not valid; nothing was changed', faults(plan));
    if (!plan.canApply)
      return failed('Somebody else has changed it since the edit began; nothing was changed', whyNot(plan));
    this.offer(draft, plan, failed, again);
  }

  private offer(
    draft: EditDraft,
    plan: EditPlan,
    failed: (title: string, lines: readonly string[]) => void,
    others: Parameters<Writer['confirm']>[4] = {},
  ): void {
    const { person, ports } = this.writer;
    const message = `console: ${draft.title}`;
    const apply = async (): Promise<void> => {
      try {
        const applied = await this.writer.write(() => draft.apply(plan, { message }));
        this.writer.undo = { kind: 'objects', draft: new UndoDraft(ports.reach.entry, applied) };
        person.done();
        person.say('good', `Applied version ${applied.version}. :undo takes it back.`);
      } catch (error) {
        failed('It was not applied; nothing was changed', [messageOf(error)]);
      }
    };
    const command = draft.asCommand(ports, plan, message);
    this.writer.confirm(
      draft.confirmation,
      diffTexts(plan.diffs),
      command,
      () => this.writer.busy('Applying ...', apply),
      others,
    );
  }
}

function whyNot({ moved }: EditPlan): string[] {
  return moved.map((what) => `${what}: somebody else has changed it, or there is one of the name`);
}
