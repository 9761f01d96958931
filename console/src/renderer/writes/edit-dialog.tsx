// SPDX-License-Identifier: Apache-2.0
/** An object as text, as `marcher get -o yaml` shows it. What was typed is lost by no error. */
import type { ModelViolation } from '@marcher/model';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { Dialog } from '../components/dialog.js';
import { Problem } from '../components/panel.js';
import { useConsole } from '../state/console.js';
import { said } from '../text/said.js';
import { type Edited, nameOf } from './edited.js';
import { declaredNow, editing, type Kind, type Write } from './write.js';
import { WriteSteps } from './write-dialog.js';

interface EditDialogProps {
  readonly edited: Edited;
  readonly onClose: () => void;
}

const NOUNS: Readonly<Record<Kind, string>> = { Service: 'service', Guard: 'guard', TrafficPolicy: 'traffic policy' };

export function EditDialog({ edited, onClose }: EditDialogProps): ReactNode {
  const { reach } = useConsole();
  // As it was when the person began, or came back to it: what others change meanwhile is the plan's to say.
  const [base, setBase] = useState(edited);
  const { kind } = base;
  const [text, setText] = useState<string | undefined>(undefined);
  const [violations, setViolations] = useState<readonly ModelViolation[]>([]);
  const [write, setWrite] = useState<Write | undefined>(undefined);
  const [isReading, setReading] = useState(false);
  /** Why nothing can be begun, or planned, at all: a part of the console that could not be loaded. */
  const [fault, setFault] = useState<string | undefined>(undefined);
  const area = useRef<HTMLTextAreaElement>(null);

  const [begun] = useState(edited);
  const name = nameOf(begun);
  useEffect(() => {
    import('./file-form.js')
      .then(({ offeredText }) => setText(offeredText(begun)))
      .catch((reason: Error) => setFault(reason.message));
  }, [begun]);

  const title =
    name !== undefined
      ? `Change ${NOUNS[kind]} ${name}`
      : `${begun.like === undefined ? 'New' : 'Copy of a'} ${NOUNS[kind]}`;
  const plan = async (): Promise<void> => {
    setFault(undefined);
    const { readEdit } = await import('./file-form.js');
    const read = readEdit(text ?? '', base);
    setViolations(read.violations ?? []);
    if (read.edit !== undefined) setWrite(await editing((await reach()).entry, [read.edit]));
    else area.current?.focus();
  };

  const goBack = (): void => {
    setWrite(undefined);
    if (name === undefined) return;
    // What others have made of it is what is changed now. Where it is gone, the text makes it anew; where nobody answers, the
    // next plan says so.
    setReading(true);
    reach()
      .then(({ entry }) => declaredNow(entry, { kind, name }))
      .then(setBase, (reason: unknown) => {
        if ((reason as { code?: string }).code === 'not_found') setBase({ kind, declared: undefined } as Edited);
      })
      .finally(() => setReading(false));
  };

  return (
    <Dialog title={title} onClose={onClose} wide>
      {write !== undefined ? (
        <WriteSteps write={write} onClose={onClose} onBack={goBack} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            plan().catch((reason: Error) => setFault(reason.message));
          }}
        >
          <label className="field">
            As in a file of marcher apply
            <textarea
              ref={area}
              className="editor"
              spellCheck={false}
              rows={20}
              value={text ?? ''}
              disabled={text === undefined}
              aria-invalid={violations.length > 0}
              onChange={(event) => setText(event.target.value)}
            />
          </label>
          {fault !== undefined && <Problem>{said(fault)}. Try again; what is typed here stays.</Problem>}
          {violations.length > 0 && <Violations violations={violations} />}
          <footer className="dialog-foot">
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" className="primary" disabled={text === undefined || isReading}>
              Plan
            </button>
          </footer>
        </form>
      )}
    </Dialog>
  );
}

function Violations({ violations }: { readonly violations: readonly ModelViolation[] }): ReactNode {
  return (
    <>
      <Problem>The text can't be read as it stands:</Problem>
      <ul className="violations">
        {violations.slice(0, 50).map(({ path, reason, fix, line }) => (
          <li key={`${path} ${reason} ${line}`}>
            {line !== undefined && <strong>line {line}: </strong>}
            {path !== '' && <code>{path}</code>} {reason}
            {fix !== '' && <span className="fix">: {fix}</span>}
          </li>
        ))}
      </ul>
    </>
  );
}
