// SPDX-License-Identifier: Apache-2.0
/** Fields of a form, as data: what is asked for before something is made. */
import { type ReactNode, useId } from 'react';
import { said } from '../text/said.js';

export type Values = Readonly<Record<string, string>>;

interface FieldOf {
  readonly name: string;
  readonly label: string;
  /** What is expected, in a line. */
  readonly hint?: string;
  /** May be empty. Default false. */
  readonly optional?: boolean;
  /** Shown only where this holds. */
  readonly when?: (values: Values) => boolean;
}

export type Field = FieldOf &
  (
    | { readonly kind: 'text'; readonly pattern?: string; readonly initial?: string; readonly max?: number }
    | { readonly kind: 'number'; readonly from: number; readonly to: number; readonly initial: number }
    | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly initial: string }
    /** 'yes' or ''. */
    | { readonly kind: 'check' }
    /** One's own is what a browser may fill in; a new one it may not. */
    | { readonly kind: 'password'; readonly isNew: boolean; readonly min?: number }
    /** A text, typed or of a file. secret: it is shown only as long as it is there. */
    | { readonly kind: 'pem'; readonly secret: boolean }
  );

/** As agents name services, certificates, clusters. */
export const OBJECT_NAME = '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?';
/** Users and keys. */
export const ACCESS_NAME = '[a-z0-9][a-z0-9._\\-]{0,63}';
/** What an agent takes of a certificate's chain; more is no certificate. */
const FILE_MAX_BYTES = 65_536;

export function initialValues(fields: readonly Field[]): Values {
  return Object.fromEntries(
    fields.map((field) => [field.name, 'initial' in field && field.initial !== undefined ? String(field.initial) : '']),
  );
}

/** "a.example, b.example" or a line each. */
export function wordsOf(text: string | undefined): string[] {
  return (text ?? '').split(/[\s,]+/).filter((word) => word !== '');
}

interface FieldsProps {
  readonly fields: readonly Field[];
  readonly values: Values;
  readonly set: (name: string, value: string) => void;
  readonly failed: (problem: string) => void;
}

export function Fields({ fields, values, set, failed }: FieldsProps): ReactNode {
  return fields
    .filter(({ when }) => when?.(values) ?? true)
    .map((field) => (
      <FieldInput
        key={field.name}
        field={field}
        value={values[field.name] ?? ''}
        set={(value) => set(field.name, value)}
        failed={failed}
      />
    ));
}

interface FieldInputProps {
  readonly field: Field;
  readonly value: string;
  readonly set: (value: string) => void;
  readonly failed: (problem: string) => void;
}

function FieldInput({ field, value, set, failed }: FieldInputProps): ReactNode {
  const id = useId();
  const { label, hint, optional = false } = field;
  const described = hint === undefined ? {} : { 'aria-describedby': `${id}-hint` };
  if (field.kind === 'check') {
    return (
      <label className="field-check">
        <input type="checkbox" checked={value === 'yes'} onChange={({ target }) => set(target.checked ? 'yes' : '')} />{' '}
        {label}
      </label>
    );
  }
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <Control field={field} id={id} value={value} set={set} required={!optional} described={described} />
      {field.kind === 'pem' && (
        <input
          type="file"
          aria-label={`${label}, from a file`}
          onChange={({ target }) => {
            const [file] = target.files ?? [];
            if (file === undefined) return;
            if (file.size > FILE_MAX_BYTES) {
              failed(`${said(file.name)} has ${file.size} bytes: expected at most ${FILE_MAX_BYTES}`);
              return;
            }
            file.text().then(set, (reason: unknown) => failed(`${said(file.name)}: ${(reason as Error).message}`));
          }}
        />
      )}
      {hint !== undefined && (
        <span className="note" id={`${id}-hint`}>
          {hint}
        </span>
      )}
    </div>
  );
}

interface ControlProps {
  readonly field: Exclude<Field, { kind: 'check' }>;
  readonly id: string;
  readonly value: string;
  readonly set: (value: string) => void;
  readonly required: boolean;
  readonly described: { readonly 'aria-describedby'?: string };
}

function Control({ field, id, value, set, required, described }: ControlProps): ReactNode {
  const shared = { id, value, required, ...described } as const;
  switch (field.kind) {
    case 'text':
      return (
        <input
          {...shared}
          autoComplete="off"
          spellCheck={false}
          maxLength={field.max ?? 64}
          {...(field.pattern === undefined ? {} : { pattern: field.pattern })}
          onChange={({ target }) => set(target.value)}
        />
      );
    case 'number':
      return (
        <input
          {...shared}
          type="number"
          min={field.from}
          max={field.to}
          step={1}
          onChange={({ target }) => set(target.value)}
        />
      );
    case 'choice':
      return (
        <select {...shared} onChange={({ target }) => set(target.value)}>
          {field.choices.map((choice) => (
            <option key={choice} value={choice}>
              {said(choice)}
            </option>
          ))}
        </select>
      );
    case 'password':
      return (
        <input
          {...shared}
          type="password"
          autoComplete={field.isNew ? 'new-password' : 'current-password'}
          maxLength={128}
          {...(field.min === undefined ? {} : { minLength: field.min })}
          onChange={({ target }) => set(target.value)}
        />
      );
    case 'pem':
      return (
        <textarea
          {...shared}
          className="editor"
          rows={field.secret ? 4 : 7}
          spellCheck={false}
          autoComplete="off"
          maxLength={FILE_MAX_BYTES}
          onChange={({ target }) => set(target.value)}
        />
      );
  }
}
