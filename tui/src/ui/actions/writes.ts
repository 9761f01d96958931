// SPDX-License-Identifier: Apache-2.0
/** What the console does to a mesh: asked first, shown as a command, one thing at a time, and only while it is unlocked. */
import { type Confirmation, EditDraft, type EditPlan, UndoDraft, WriteLock } from '@marcher/client/actions';
import type { BackendView, NodeView, ObjectView, ServiceView } from '@marcher/client/fleet';
import type { ConsolePorts } from '../ports.js';
import type { Tone } from '../theme/theme.js';
import { yamlOf } from '../views/yaml.js';
import { diffTexts } from './diff-text.js';
import { carryOut, drainBackends, drainNodes, type Verb } from './drain.js';
import { readEdits } from './edits.js';

export interface Question {
  readonly title: string;
  readonly lines: readonly string[];
  /** That do the same. */
  readonly commands?: readonly string[];
  /** Has to be typed; undefined: "y" is enough. */
  readonly word?: string | undefined;
  readonly yes: () => void;
  readonly others?: Readonly<Record<string, { readonly help: string; readonly run: () => void }>>;
}

/** The operator. */
export interface Person {
  say(tone: Tone, text: string): void;
  ask(question: Question): void;
  /** What was marked has been done. */
  unmark(): void;
}

type Editable = ServiceView | ObjectView;

export class Writes {
  private readonly ports: ConsolePorts;
  private readonly person: Person;
  private readonly lock: WriteLock;
  private isBusy = false;
  private undo: UndoDraft | undefined;

  constructor(ports: ConsolePorts, person: Person) {
    this.ports = ports;
    this.person = person;
    this.lock = new WriteLock(() => ports.clock.nowMs());
  }

  /** It locks by itself after a time without a write. */
  get isUnlocked(): boolean {
    return this.lock.isUnlocked(this.mesh());
  }

  setUnlocked(unlocked: boolean): void {
    if (unlocked) this.lock.unlock(this.mesh());
    else this.lock.lock(this.mesh());
  }

  drain(verb: Verb, subject: 'node' | 'backend', items: readonly object[]): void {
    if (this.isRefused()) return;
    const { fleet, reach, target } = this.ports;
    const plan =
      subject === 'node'
        ? drainNodes(verb, items as readonly NodeView[], fleet.state, reach)
        : drainBackends(verb, items as readonly BackendView[], fleet.state, reach);
    if (plan.drafts.length === 0) {
      this.person.say('bad', 'No node that could be told is live: nothing was changed.');
      return;
    }
    this.person.ask({
      ...{ title: plan.title, word: plan.word },
      lines: plan.lines,
      commands: plan.drafts.flatMap((draft) => draft.asCommand({ target }).split('\n')),
      yes: () =>
        this.busy('Telling them ...', async () => {
          const { ok, text } = await this.write(() => carryOut(verb, plan));
          this.person.unmark();
          this.person.say(ok ? 'good' : 'bad', text);
        }),
    });
  }

  /** draft: what was written before, and not applied. */
  edit(object: Editable, draft?: string): void {
    if (this.isRefused()) return;
    const original = yamlOf(object);
    if (original === undefined) {
      this.person.say('bad', `No node has said yet what ${object.name} declares: try again in a moment.`);
      return;
    }
    this.busy('', async () => {
      // What was written before and is left as it is now is still to be planned.
      const text = (await this.ports.editor(draft ?? original, object.name)) ?? draft;
      if (text === undefined) this.person.say('dim', `${object.name} was left as it is.`);
      else await this.plan(text, object);
    });
  }

  undoLast(): void {
    if (this.isRefused()) return;
    const { undo } = this;
    if (undo === undefined) {
      this.person.say('bad', 'Nothing was applied from here that could be taken back: :history lists versions.');
      return;
    }
    this.busy('Planning ...', async () => {
      const plan = await undo.plan();
      if (plan.isEmpty) return this.person.say('dim', 'It is as it was before already.');
      if (!plan.canApply)
        return this.person.say('bad', `It can not be taken back: ${[plan.why, ...faults(plan)].join('; ')}`);
      this.confirm(undo.confirmation, [plan.why, '', ...diffTexts(plan.diffs)], undo.asCommand(plan, this.ports), () =>
        this.busy('Applying ...', async () => {
          const { version } = await this.write(() => undo.apply(plan));
          this.undo = undefined;
          this.person.say('good', `Applied version ${version}: it is as it was before.`);
        }),
      );
    });
  }

  private async plan(text: string, object: Editable): Promise<void> {
    const again = { e: { help: 'edit again', run: () => this.edit(object, text) } };
    const failed = (title: string, lines: readonly string[]): void =>
      this.person.ask({
        ...{ title, others: again },
        lines: [...lines, '', 'e edits it again, as it was written; y plans it once more; n drops it.'],
        yes: () => this.busy('', () => this.plan(text, object)),
      });
    const read = readEdits(text, object, this.ports.fleet.state);
    if (read.edits === undefined) return failed('It is not valid; nothing was changed', read.problems);
    if (read.edits.length === 0)
      return this.person.say('dim', `Nothing was left in it: ${object.name} stays as it is.`);
    this.person.say('dim', 'Planning ...');
    const draft = new EditDraft(this.ports.reach.entry, read.edits);
    let plan: EditPlan;
    try {
      plan = await draft.plan();
    } catch (error) {
      return failed('It could not be planned; nothing was changed', [messageOf(error)]);
    }
    if (plan.isEmpty) return this.person.say('dim', `${object.name} already is as it was written.`);
    if (plan.violations.length > 0) return failed('It is not valid; nothing was changed', faults(plan));
    if (!plan.canApply)
      return failed('Somebody else has changed it since the edit began; nothing was changed', plan.moved);
    const message = `console: ${draft.title}`;
    const apply = async (): Promise<void> => {
      try {
        const applied = await this.write(() => draft.apply(plan, { message }));
        this.undo = new UndoDraft(this.ports.reach.entry, applied);
        this.person.say('good', `Applied version ${applied.version}. :undo takes it back.`);
      } catch (error) {
        failed('It was not applied; nothing was changed', [messageOf(error)]);
      }
    };
    const command = draft.asCommand(this.ports, plan, message);
    this.confirm(draft.confirmation, diffTexts(plan.diffs), command, () => this.busy('Applying ...', apply), again);
  }

  private confirm(
    confirmation: Confirmation,
    lines: readonly string[],
    command: string,
    yes: () => void,
    others: Question['others'] = {},
  ): void {
    const word = confirmation.kind === 'typed' ? confirmation.text : undefined;
    this.person.ask({
      title: confirmation.question,
      lines,
      commands: command.split('\n'),
      word,
      yes,
      others,
    });
  }

  private mesh(): string {
    return this.ports.fleet.state.mesh?.id ?? '';
  }

  private isRefused(): boolean {
    if (this.isUnlocked) return false;
    this.person.say('warn', 'This console only reads: :unlock lets it change things.');
    return true;
  }

  private async write<T>(run: () => Promise<T>): Promise<T> {
    return await this.lock.write(this.mesh(), run);
  }

  private busy(text: string, run: () => Promise<void>): void {
    if (this.isBusy) {
      this.person.say('warn', 'What was begun before is not done yet.');
      return;
    }
    this.isBusy = true;
    if (text !== '') this.person.say('dim', text);
    run()
      .catch((error: unknown) => this.person.say('bad', messageOf(error)))
      .finally(() => {
        this.isBusy = false;
      });
  }
}

function faults({ violations }: EditPlan): string[] {
  return violations.map(({ path, reason, fix }) => `${path}: ${reason}${fix === '' ? '' : `; ${fix}`}`);
}

export function messageOf(error: unknown): string {
  const { message, violations = [] } = error as Error & Partial<Pick<EditPlan, 'violations'>>;
  return [message, ...violations.map(({ path, reason, fix }) => `${path}: ${reason}; ${fix}`)].join('; ');
}
