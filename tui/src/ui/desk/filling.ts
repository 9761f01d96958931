// SPDX-License-Identifier: Apache-2.0
/** Forms: filled in, and given to whoever asked for them. */
import { characterOf } from '../keys/chord.js';
import { type Form, type FormFieldSpec, formAfter, formOf, type Values, valuesOf, withText } from '../store/form.js';
import type { Desk } from './desk.js';

export interface FormSpec {
  readonly title: string;
  readonly fields: readonly FormFieldSpec[];
}

export class Filling {
  private readonly desk: Desk;
  private submit: (values: Values) => void = () => undefined;
  private begun = 0;

  constructor(desk: Desk) {
    this.desk = desk;
  }

  /** values: what was given before; problem: what was wrong with it. */
  fill({ title, fields }: FormSpec, submit: (values: Values) => void, values: Values = {}, problem = ''): void {
    this.submit = submit;
    const given = fields.map((field) => ({ ...field, value: values[field.name] ?? field.value ?? '' }));
    // A choice has always one of its own.
    const usable = given.map((field) =>
      field.kind === 'choice' && !field.choices.includes(field.value)
        ? { ...field, value: field.choices[0] ?? '' }
        : field,
    );
    this.show(formOf(++this.begun, title, usable, problem));
  }

  press(chord: string): void {
    const { form } = this.desk.ui;
    if (form === undefined) return;
    const next = formAfter(form, chord, characterOf(chord));
    if (next === 'leave') {
      this.show(undefined);
      this.desk.say('dim', 'Nothing was changed.');
    } else if (next === 'submit') {
      this.show(undefined);
      this.submit(valuesOf(form));
    } else this.show(next);
  }

  paste(text: string): void {
    const { form } = this.desk.ui;
    if (form !== undefined) this.show(withText(form, text));
  }

  private show(form: Form | undefined): void {
    this.desk.dispatch({ type: 'form', form });
  }
}
