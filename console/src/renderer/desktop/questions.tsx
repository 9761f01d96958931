// SPDX-License-Identifier: Apache-2.0
/** What the main process asks the person, one after the other: whose key that is, a passphrase, a code. */
import { type FormEvent, type ReactNode, useEffect, useState } from 'react';
import type { Bridge, Question } from '../../ipc/contract.js';
import { Dialog } from '../components/dialog.js';
import { said } from '../text/said.js';

/** A main process that fails is not asked in a loop. */
const AGAIN_MS = 5_000;

export function Questions({ bridge }: { readonly bridge: Bridge }): ReactNode {
  const [question, setQuestion] = useState<Question | undefined>(undefined);
  const [answered, setAnswered] = useState(0);
  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const next = (): void => {
      bridge.nextQuestion(answered).then(
        (asked) => {
          if (!isOver) setQuestion(asked);
        },
        () => {
          timer = setTimeout(next, AGAIN_MS);
        },
      );
    };
    next();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [bridge, answered]);
  if (question === undefined || question.id <= answered) return null;
  return (
    <QuestionDialog key={question.id} bridge={bridge} question={question} onDone={() => setAnswered(question.id)} />
  );
}

interface QuestionDialogProps {
  readonly bridge: Bridge;
  readonly question: Question;
  readonly onDone: () => void;
}

function QuestionDialog({ bridge, question, onDone }: QuestionDialogProps): ReactNode {
  const { id, title, text, fields, action, mayKeep } = question;
  const [values, setValues] = useState<readonly string[]>(() => fields.map(() => ''));
  const [keep, setKeep] = useState(false);
  const [problem, setProblem] = useState('');
  const answer = (answers: string[] | null): void => {
    bridge.answerQuestion(id, answers, keep).then(onDone, (error: Error) => setProblem(error.message));
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    answer([...values]);
  };
  return (
    <Dialog title={said(title)} onClose={() => answer(null)}>
      <form onSubmit={submit}>
        {text.map((line) => (
          <p key={line} className="question-line">
            {said(line)}
          </p>
        ))}
        {fields.map(({ label, isSecret }, at) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: they stay in their order
          <label key={at} className="field">
            <span>{said(label)}</span>
            <input
              type={isSecret ? 'password' : 'text'}
              autoComplete="off"
              autoFocus={at === 0}
              required
              maxLength={4_096}
              value={values[at] ?? ''}
              onChange={(event) => setValues(values.map((value, each) => (each === at ? event.target.value : value)))}
            />
          </label>
        ))}
        {mayKeep && (
          <label className="field-check">
            <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} /> Keep it among
            the secrets of this console
          </label>
        )}
        {problem !== '' && (
          <p role="alert" className="problem-line">
            {said(problem)}{' '}
            <button type="button" onClick={onDone}>
              Close
            </button>
          </p>
        )}
        <footer className="dialog-foot">
          <button type="button" onClick={() => answer(null)}>
            {fields.length === 0 ? 'No' : 'Not now'}
          </button>
          <button type="submit" className="primary">
            {action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
