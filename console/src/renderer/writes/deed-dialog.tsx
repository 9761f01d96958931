// SPDX-License-Identifier: Apache-2.0
/** A write that no agent plans: what is asked for, what it will do, done, and taken back. */
import { type Deed, isConfirmed, type NextDeed, type ShownOnce } from '@marcher/client/actions';
import { type ReactNode, useEffect, useReducer, useRef, useState } from 'react';
import { CommandLine } from '../components/command-line.js';
import { Dialog } from '../components/dialog.js';
import { QrCode } from '../components/qr-code.js';
import { useConsole } from '../state/console.js';
import { said } from '../text/said.js';
import { type DeedFlow, nextDeed } from './deed-flow.js';
import { FailureView } from './failure-view.js';
import { type Field, Fields, initialValues, type Values } from './fields.js';
import { asFailure, type Failure } from './flow.js';

export interface Doing {
  /** Of the form; without fields there is none. */
  readonly title: string;
  readonly fields?: readonly Field[];
  readonly note?: string;
  /** Error: why it can't be made of these values. */
  readonly make: (values: Values) => Deed;
}

interface DeedDialogProps {
  readonly doing: Doing;
  readonly onClose: () => void;
  /** It was done, or taken back: what the page shows is old. */
  readonly onChange: () => void;
}

/** What has a step that follows has that in the same place. */
export default function DeedDialog(props: DeedDialogProps): ReactNode {
  const [following, setFollowing] = useState<Doing | undefined>(undefined);
  if (following === undefined) return <DeedStep {...props} onNext={setFollowing} />;
  return <DeedStep key="next" {...props} doing={following} onNext={setFollowing} />;
}

const CALL_MS = 30_000;
const NO_FIELDS: readonly Field[] = [];

function DeedStep({
  doing,
  onClose,
  onChange,
  onNext,
}: DeedDialogProps & { readonly onNext: (doing: Doing) => void }): ReactNode {
  const { notify, change } = useConsole();
  const { fields = NO_FIELDS, make } = doing;
  const [values, setValues] = useState(() => initialValues(fields));
  const [flow, dispatch] = useReducer(
    nextDeed,
    doing,
    (first): DeedFlow => (first.fields === undefined ? { step: 'asking', deed: first.make({}) } : { step: 'filling' }),
  );
  const failed = (reason: unknown): void => {
    const failure = asFailure(reason);
    // The history is of the configuration, and this is in none: the message says what to look at.
    dispatch({ kind: 'failed', problem: failure.code === 'conflict' ? { ...failure, code: 'failed' } : failure });
  };
  const run = (deed: Deed): void => {
    change(() => deed.apply(AbortSignal.timeout(CALL_MS))).then((done) => {
      dispatch({ kind: 'done', done });
      notify(said(done.text));
      onChange();
    }, failed);
  };
  const next = flow.step === 'done' ? flow.done.next : undefined;
  const title = flow.step === 'filling' ? doing.title : 'deed' in flow ? flow.deed.confirmation.question : doing.title;
  return (
    <Dialog title={said(title)} onClose={onClose}>
      {flow.step === 'filling' && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            try {
              dispatch({ kind: 'made', deed: make(values) });
            } catch (reason) {
              failed(reason);
            }
          }}
        >
          {doing.note !== undefined && <p className="note">{doing.note}</p>}
          <Fields
            fields={fields}
            values={values}
            set={(name, value) => setValues((before) => ({ ...before, [name]: value }))}
            failed={(problem) => failed(new Error(problem))}
          />
          {flow.problem !== undefined && <FailureView failure={flow.problem} />}
          <footer className="dialog-foot">
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button type="submit" className="primary">
              Go on
            </button>
          </footer>
        </form>
      )}
      {(flow.step === 'asking' || flow.step === 'doing') && (
        <Asking
          deed={flow.deed}
          isBusy={flow.step === 'doing'}
          problem={flow.step === 'asking' ? flow.problem : undefined}
          onBack={doing.fields === undefined ? undefined : () => dispatch({ kind: 'back' })}
          onClose={onClose}
          onApply={() => {
            dispatch({ kind: 'apply' });
            run(flow.deed);
          }}
        />
      )}
      {(flow.step === 'done' || flow.step === 'undoing') && (
        <>
          <p role="status">{said(flow.done.text)}</p>
          {flow.done.secret !== undefined && <Secret secret={flow.done.secret} />}
          {flow.step === 'done' && flow.problem !== undefined && <FailureView failure={flow.problem} />}
          {next !== undefined ? null : flow.done.undo === undefined ? (
            <p className="note">{said(flow.deed.lasting ?? 'Nothing takes it back.')}</p>
          ) : (
            <CommandLine command={flow.done.undo.asCommand()} what="Show undo as CLI" />
          )}
          <footer className="dialog-foot">
            {flow.done.undo !== undefined && (
              <button
                type="button"
                disabled={flow.step === 'undoing'}
                onClick={() => {
                  dispatch({ kind: 'undo' });
                  run(flow.done.undo as Deed);
                }}
              >
                Undo
              </button>
            )}
            {next === undefined ? (
              <button type="button" className="primary" onClick={onClose}>
                Done
              </button>
            ) : (
              <button type="button" className="primary" onClick={() => onNext(asDoing(next))}>
                Go on
              </button>
            )}
          </footer>
        </>
      )}
      {flow.step === 'undone' && (
        <>
          <p role="status">Taken back. {said(flow.text)}</p>
          <footer className="dialog-foot">
            <button type="button" className="primary" onClick={onClose}>
              Done
            </button>
          </footer>
        </>
      )}
    </Dialog>
  );
}

function asDoing({ title, label, make }: NextDeed): Doing {
  return {
    title,
    fields: [{ kind: 'text', name: 'answer', label }],
    make: ({ answer = '' }) => make(answer),
  };
}

interface AskingProps {
  readonly deed: Deed;
  readonly isBusy: boolean;
  readonly problem: Failure | undefined;
  readonly onBack: (() => void) | undefined;
  readonly onClose: () => void;
  readonly onApply: () => void;
}

function Asking({ deed, isBusy, problem, onBack, onClose, onApply }: AskingProps): ReactNode {
  const [typed, setTyped] = useState('');
  const { confirmation, consequences, lasting } = deed;
  const isTyped = confirmation.kind === 'typed';
  const confirmed = !isTyped || isConfirmed(confirmation, typed);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (confirmed && !isBusy) onApply();
      }}
    >
      <ul className="consequences">
        {consequences.map((one) => (
          <li key={one}>{said(one)}</li>
        ))}
        <li>{lasting === undefined ? 'It can be taken back here, after it is done.' : said(`No undo: ${lasting}`)}</li>
      </ul>
      {isTyped && (
        <label className="field">
          Type {said(confirmation.text)} to confirm
          <input
            value={typed}
            autoComplete="off"
            spellCheck={false}
            onChange={({ target }) => setTyped(target.value)}
          />
        </label>
      )}
      {problem !== undefined && <FailureView failure={problem} />}
      <CommandLine command={deed.asCommand()} />
      <footer className="dialog-foot">
        {onBack !== undefined && (
          <button type="button" disabled={isBusy} onClick={onBack}>
            Back
          </button>
        )}
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" className={isTyped ? 'danger' : 'primary'} disabled={!confirmed || isBusy}>
          {isBusy ? 'Doing it…' : 'Do it'}
        </button>
      </footer>
    </form>
  );
}

/** In this answer alone: it goes with the dialog. */
function Secret({ secret: { what, text, advice, qr } }: { readonly secret: ShownOnce }): ReactNode {
  const box = useRef<HTMLTextAreaElement>(null);
  const lines = text.split('\n').length;
  // An address takes more than one.
  const rows = lines === 1 ? 1 : lines + 2;
  const [copied, setCopied] = useState(false);
  useEffect(() => box.current?.select(), []);
  return (
    <div className="secret">
      <label className="field">
        {said(what)}, shown here alone
        <textarea ref={box} className="secret-text" readOnly rows={rows} value={text} spellCheck={false} />
      </label>
      <button
        type="button"
        onClick={() => {
          navigator.clipboard.writeText(text).then(
            () => setCopied(true),
            () => setCopied(false),
          );
        }}
      >
        {copied ? 'Copied' : 'Copy'}
      </button>
      {qr !== undefined && <QrCode text={qr} label="QR code of the address" />}
      <p>{said(advice)}</p>
    </div>
  );
}
