// SPDX-License-Identifier: Apache-2.0
/** An object as text, as `marcher get -o yaml` shows it. What was typed is lost by no error. */
import type { ModelViolation } from '@marcher/model';
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { Dialog } from '../components/dialog.js';
import { Problem } from '../components/panel.js';
import { useConsole } from '../state/console.js';
import { type Kind, saving, type Write } from './write.js';
import { WriteSteps } from './write-dialog.js';

export type Edited =
  | { readonly kind: 'Service'; readonly declared: Service | undefined }
  | { readonly kind: 'TrafficPolicy' | 'Guard'; readonly declared: Object$ | undefined };

interface EditDialogProps {
  readonly edited: Edited;
  readonly onClose: () => void;
}

const NOUNS: Readonly<Record<Kind, string>> = { Service: 'service', Guard: 'guard', TrafficPolicy: 'traffic policy' };

export function EditDialog({ edited, onClose }: EditDialogProps): ReactNode {
  const { reach } = useConsole();
  // As it was when the person began: what comes in meanwhile is the plan's to show.
  const [{ kind, declared }] = useState(edited);
  const name = nameOf(edited);
  const [text, setText] = useState<string | undefined>(undefined);
  const [violations, setViolations] = useState<readonly ModelViolation[]>([]);
  const [write, setWrite] = useState<Write | undefined>(undefined);
  const area = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    void import('./file-form.js').then((form) => {
      const offered = kind === 'Guard' ? '' : form.TEMPLATES[kind];
      setText(
        declared === undefined ? offered : kind === 'Service' ? form.serviceText(declared) : form.objectText(declared),
      );
    });
  }, [kind, declared]);

  const title = name === undefined ? `New ${NOUNS[kind]}` : `Change ${NOUNS[kind]} ${name}`;
  const plan = async (): Promise<void> => {
    const { readObjects } = await import('./file-form.js');
    const read = readObjects(text ?? '', kind, name);
    setViolations(read.violations ?? []);
    if (read.objects !== undefined) setWrite(saving(reach.entry, read.objects, title, text ?? ''));
    else area.current?.focus();
  };

  return (
    <Dialog title={title} onClose={onClose} wide>
      {write !== undefined ? (
        <WriteSteps write={write} onClose={onClose} onBack={() => setWrite(undefined)} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void plan();
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
          {violations.length > 0 && <Violations violations={violations} />}
          <footer className="dialog-foot">
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" className="primary" disabled={text === undefined}>
              Plan
            </button>
          </footer>
        </form>
      )}
    </Dialog>
  );
}

function nameOf(edited: Edited): string | undefined {
  return edited.kind === 'Service' ? edited.declared?.name : edited.declared?.object.value?.name;
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
