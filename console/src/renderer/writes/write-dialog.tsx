// SPDX-License-Identifier: Apache-2.0
/** Plan, difference, apply, undo. */
import { type ReactNode, useCallback, useEffect, useReducer, useState } from 'react';
import { CommandLine } from '../components/command-line.js';
import { Dialog } from '../components/dialog.js';
import { countsSentence, DiffView } from '../components/diff-view.js';
import { Problem } from '../components/panel.js';
import { useConsole } from '../state/console.js';
import { said } from '../text/said.js';
import { FailureView } from './failure-view.js';
import { asFailure, FLOW_START, isApplicable, nextFlow } from './flow.js';
import type { Write } from './write.js';

interface WriteDialogProps {
  readonly write: Write;
  readonly onClose: () => void;
  /** Back to where it was typed. Absent: it was not. */
  readonly onBack?: () => void;
}

export function WriteDialog({ write, onClose, onBack }: WriteDialogProps): ReactNode {
  return (
    <Dialog title={write.title} onClose={onClose} wide>
      <WriteSteps write={write} onClose={onClose} {...(onBack === undefined ? {} : { onBack })} />
    </Dialog>
  );
}

export function WriteSteps({ write, onClose, onBack }: WriteDialogProps): ReactNode {
  const { notify, change } = useConsole();
  const [flow, dispatch] = useReducer(nextFlow, FLOW_START);
  const [message, setMessage] = useState('');
  const [typed, setTyped] = useState('');
  const failed = useCallback((reason: unknown) => dispatch({ kind: 'failed', failure: asFailure(reason) }), []);

  const isPlanning = flow.step === 'planning';
  useEffect(() => {
    if (!isPlanning) return;
    let stopped = false;
    write.plan().then(
      (plan) => {
        if (!stopped) dispatch({ kind: 'planned', plan });
      },
      (reason: unknown) => {
        if (!stopped) failed(reason);
      },
    );
    return () => {
      stopped = true;
    };
  }, [write, isPlanning, failed]);

  const apply = (): void => {
    if (flow.step !== 'planned') return;
    dispatch({ kind: 'apply' });
    change(() => write.apply(message)).then((applied) => {
      dispatch({ kind: 'applied', applied });
      notify(`${write.title}: done, version ${applied.version}.`);
    }, failed);
  };
  const undo = (): void => {
    if (flow.step !== 'applied') return;
    dispatch({ kind: 'undo' });
    change(() => write.undo()).then((version) => {
      dispatch({ kind: 'undone', version });
      notify(`Taken back: version ${version} is as version ${flow.applied.before} was.`);
    }, failed);
  };

  switch (flow.step) {
    case 'planning':
      return <p aria-busy="true">Planning…</p>;
    case 'failed':
      return (
        <>
          <FailureView failure={flow.failure} />
          <footer className="dialog-foot">
            {onBack !== undefined && (
              <button type="button" onClick={onBack}>
                Back to the text
              </button>
            )}
            <button type="button" onClick={() => dispatch({ kind: 'plan' })}>
              Plan again
            </button>
          </footer>
        </>
      );
    case 'planned': {
      const { plan, moved } = flow;
      const confirmed = write.typed === undefined || typed === write.typed;
      return (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (confirmed) apply();
          }}
        >
          {moved && <Problem>The configuration has changed meanwhile. This is the plan for what it is now.</Problem>}
          {plan.moved.length > 0 && (
            <Problem>
              {said(plan.moved.join(', '))}: it is not as it was when you began. Somebody else has made or changed it,
              and this would take that back.
              {onBack !== undefined && ' Back to the text plans it on what is there now.'}
            </Problem>
          )}
          {plan.violations.length > 0 ? (
            <FailureView
              failure={{
                code: 'invalid',
                message: 'This is not valid; nothing was changed.',
                violations: plan.violations,
              }}
            />
          ) : (
            <>
              <p>
                Plan: {countsSentence(plan.diffs)} (from version {String(plan.version)}).
              </p>
              <DiffView diffs={plan.diffs} />
            </>
          )}
          {isApplicable(plan) && (
            <>
              <label className="field">
                Why (kept in the history)
                <input value={message} maxLength={1_000} onChange={(event) => setMessage(event.target.value)} />
              </label>
              {write.typed !== undefined && (
                <label className="field">
                  Type {write.typed} to confirm
                  <input value={typed} autoComplete="off" onChange={(event) => setTyped(event.target.value)} />
                </label>
              )}
              <CommandLine command={write.command(message)} />
            </>
          )}
          <footer className="dialog-foot">
            {onBack !== undefined && (
              <button type="button" onClick={onBack}>
                Back to the text
              </button>
            )}
            <button type="button" onClick={onClose}>
              Cancel
            </button>
            <button
              type="submit"
              className={write.typed === undefined ? 'primary' : 'danger'}
              disabled={!isApplicable(plan) || !confirmed}
            >
              Apply
            </button>
          </footer>
        </form>
      );
    }
    case 'applying':
    case 'undoing':
      return <p aria-busy="true">{flow.step === 'applying' ? 'Applying…' : 'Taking back…'}</p>;
    case 'applied':
      return (
        <>
          {flow.failure === undefined ? (
            <p role="status">Applied as version {String(flow.applied.version)}.</p>
          ) : (
            <FailureView failure={flow.failure} />
          )}
          <DiffView diffs={flow.applied.diffs} />
          <footer className="dialog-foot">
            <button type="button" onClick={undo}>
              Undo
            </button>
            <button type="button" className="primary" onClick={onClose}>
              Done
            </button>
          </footer>
        </>
      );
    case 'undone':
      return (
        <>
          <p role="status">
            Taken back: version {String(flow.version)} is as version {String(flow.applied.before)} was.
          </p>
          <footer className="dialog-foot">
            <button type="button" className="primary" onClick={onClose}>
              Done
            </button>
          </footer>
        </>
      );
  }
}
