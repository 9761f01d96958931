// SPDX-License-Identifier: Apache-2.0
/** A form: what has to be known before something can be planned. Pure; what its answers do is kept by the desk's part for forms. */
import { deleteBefore, insertText, moveCursor } from './prompt-text.js';

interface FieldSpec {
  readonly name: string;
  readonly label: string;
  /** What is expected, in a sentence. */
  readonly hint: string;
  readonly value?: string;
}

/** secret: seen by nobody who looks at the screen. */
export type FormFieldSpec =
  | (FieldSpec & { readonly kind: 'text' | 'secret' })
  | (FieldSpec & {
      readonly kind: 'choice';
      readonly choices: readonly string[];
      /** In the place of the hint, by choice. */
      readonly helps?: Readonly<Record<string, string>>;
    });

export interface FormField {
  readonly name: string;
  readonly label: string;
  readonly hint: string;
  readonly kind: 'text' | 'secret' | 'choice';
  /** Of a choice: one of them, or nothing. */
  readonly choices: readonly string[];
  readonly helps: Readonly<Record<string, string>>;
  readonly text: string;
  readonly cursor: number;
}

export interface Form {
  readonly id: number;
  readonly title: string;
  readonly fields: readonly [FormField, ...FormField[]];
  /** Of the field that is typed in. */
  readonly at: number;
  /** What is wrong with what was given. */
  readonly problem: string;
}

export type Values = Readonly<Record<string, string>>;

export function formOf(id: number, title: string, specs: readonly FormFieldSpec[], problem = ''): Form {
  const fields = specs.map((spec): FormField => {
    const { name, label, hint, kind } = spec;
    const choices = spec.kind === 'choice' ? spec.choices : [];
    const helps = spec.kind === 'choice' ? (spec.helps ?? {}) : {};
    const text = spec.value ?? choices[0] ?? '';
    return { name, label, hint, kind, choices, helps, text, cursor: text.length };
  });
  const [first, ...rest] = fields;
  if (first === undefined) throw new RangeError('expected a form with a field or more');
  return { id, title, fields: [first, ...rest], at: 0, problem };
}

export function valuesOf({ fields }: Form): Values {
  return Object.fromEntries(fields.map(({ name, text }) => [name, text]));
}

export function fieldOf({ fields, at }: Form): FormField {
  return fields[at] ?? fields[0];
}

/** submit: Enter in the last field, or Ctrl-s in any. */
export function formAfter(form: Form, chord: string, character: string | undefined): Form | 'submit' | 'leave' {
  const field = fieldOf(form);
  const last = form.fields.length - 1;
  switch (chord) {
    case 'esc':
      return 'leave';
    case 'ctrl-s':
      return 'submit';
    case 'enter':
      return form.at === last ? 'submit' : { ...form, at: form.at + 1 };
    case 'tab':
    case 'down':
      return { ...form, at: Math.min(last, form.at + 1) };
    case 'shift-tab':
    case 'up':
      return { ...form, at: Math.max(0, form.at - 1) };
  }
  if (field.kind === 'choice') return withField(form, chosenField(field, chord, character));
  switch (chord) {
    case 'left':
    case 'right':
      return withField(form, { ...field, ...moveCursor(field, chord) });
    case 'home':
    case 'ctrl-a':
      return withField(form, { ...field, ...moveCursor(field, 'start') });
    case 'end':
    case 'ctrl-e':
      return withField(form, { ...field, ...moveCursor(field, 'end') });
    case 'backspace':
    case 'delete':
      return withField(form, { ...field, ...deleteBefore(field, 'character') });
    case 'ctrl-w':
      return withField(form, { ...field, ...deleteBefore(field, 'word') });
    case 'ctrl-u':
      return withField(form, { ...field, ...deleteBefore(field, 'all') });
  }
  return character === undefined ? form : withText(form, character);
}

/** What is pasted stays in one field: a choice takes nothing. */
export function withText(form: Form, text: string): Form {
  const field = fieldOf(form);
  return field.kind === 'choice' ? form : withField(form, { ...field, ...insertText(field, text) });
}

/** By the arrows, by a blank, or by the first letter. */
function chosenField(field: FormField, chord: string, character: string | undefined): FormField {
  const { choices, text } = field;
  const at = choices.indexOf(text);
  const step = chord === 'left' ? -1 : chord === 'right' || chord === 'space' ? 1 : 0;
  if (step !== 0) return { ...field, text: choices[(at + step + choices.length) % choices.length] ?? text };
  if (character === undefined) return field;
  const begins = (choice: string | undefined): boolean => choice?.startsWith(character) === true;
  // Again the same letter: the next one that begins with it.
  const next = choices.slice(at + 1).find(begins) ?? choices.find(begins);
  return next === undefined ? field : { ...field, text: next };
}

function withField(form: Form, field: FormField): Form {
  const [first, ...rest] = form.fields.map((each, at) => (at === form.at ? field : each));
  return { ...form, fields: [first ?? field, ...rest], problem: '' };
}
