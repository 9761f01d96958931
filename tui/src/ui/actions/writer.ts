// SPDX-License-Identifier: Apache-2.0
/** What all writes have in common: only while the console is unlocked, one at a time, and the last one may be taken back. */
import { type Confirmation, type UndoDraft, WriteLock } from '@marcher/client/actions';
import type { DeedPlan } from '../deeds/deed.js';
import type { FormSpec } from '../desk/filling.js';
import type { ConsolePorts } from '../ports.js';
import type { Values } from '../store/form.js';
import type { Tone } from '../theme/theme.js';

export interface Question {
  readonly title: string;
  readonly lines: readonly string[];
  /** That do the same. */
  readonly commands?: readonly string[];
  /** Has to be typed; undefined: "y" is enough. */
  readonly word?: string | undefined;
  /** It shows what is shown once: it goes when the word was typed, and by nothing else. */
  readonly stays?: boolean;
  readonly yes: () => void;
  readonly others?: Readonly<Record<string, { readonly help: string; readonly run: () => void }>>;
}

/** The operator. */
export interface Person {
  say(tone: Tone, text: string): void;
  ask(question: Question): void;
  /** values: what was given before; problem: what was wrong with it. */
  fill(form: FormSpec, submit: (values: Values) => void, values?: Values, problem?: string): void;
  /** What was marked has been done, and what is listed may be different. */
  done(): void;
}

/** How the last change is taken back. */
export type Undo =
  | { readonly kind: 'objects'; readonly draft: UndoDraft }
  | { readonly kind: 'deed'; readonly plan: () => DeedPlan | Promise<DeedPlan> }
  /** why: in a sentence. */
  | { readonly kind: 'none'; readonly why: string };

export class Writer {
  readonly ports: ConsolePorts;
  readonly person: Person;
  undo: Undo = {
    kind: 'none',
    why: 'Nothing was applied from here that could be taken back: :history lists versions.',
  };

  private readonly lock: WriteLock;
  private isBusy = false;

  constructor(ports: ConsolePorts, person: Person) {
    this.ports = ports;
    this.person = person;
    // Whoever sets the clock back does not keep it open.
    this.lock = new WriteLock(() => ports.clock.steadyMs());
  }

  /** It locks by itself after a time without a write. */
  get isUnlocked(): boolean {
    return this.lock.isUnlocked(this.mesh());
  }

  setUnlocked(unlocked: boolean): void {
    if (unlocked) this.lock.unlock(this.mesh());
    else this.lock.lock(this.mesh());
  }

  /** Says so, too. */
  isRefused(): boolean {
    if (this.isUnlocked) return false;
    const { readOnly } = this.ports;
    this.person.say('warn', readOnly ?? 'This console only reads: :unlock lets it change things.');
    return true;
  }

  async write<T>(run: () => Promise<T>): Promise<T> {
    return await this.lock.write(this.mesh(), run);
  }

  /** text: what is said meanwhile. */
  busy(text: string, run: () => Promise<void>): void {
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

  confirm(
    confirmation: Confirmation,
    lines: readonly string[],
    command: string,
    yes: () => void,
    others: Question['others'] = {},
  ): void {
    const word = confirmation.kind === 'typed' ? confirmation.text : undefined;
    this.person.ask({ title: confirmation.question, lines, commands: command.split('\n'), word, yes, others });
  }

  private mesh(): string {
    return this.ports.fleet.state.mesh?.id ?? '';
  }
}

interface Violated {
  readonly violations: readonly { readonly path: string; readonly reason: string; readonly fix: string }[];
}

export function faults({ violations }: Violated): string[] {
  return violations.map(({ path, reason, fix }) => `${path}: ${reason}${fix === '' ? '' : `; ${fix}`}`);
}

export function messageOf(error: unknown): string {
  const { message, violations = [] } = error as Error & Partial<Violated>;
  return [message, ...faults({ violations })].join('; ');
}
