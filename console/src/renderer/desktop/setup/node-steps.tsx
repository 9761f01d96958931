// SPDX-License-Identifier: Apache-2.0
/** Each step with what it said, and what can be done now. */
import { type ReactNode, useState } from 'react';
import type { ProgressView } from '../../../ipc/assistant-contract.js';
import { Problem } from '../../components/panel.js';
import { said } from '../../text/said.js';
import { useAsking } from '../asking.js';
import type { Desktop } from '../desktop.js';

type StepPhase = ProgressView['steps'][number]['phase'];

const WORDS: Readonly<Record<StepPhase, string>> = {
  waiting: '',
  running: 'now',
  done: 'done',
  failed: 'failed',
  undoing: 'being taken back',
  undone: 'taken back',
  left: 'could not be taken back',
};

const SENTENCES: Readonly<Partial<Record<ProgressView['phase'], string>>> = {
  running: 'The node is being added.',
  done: 'The node is a member. Until you keep it, all of this can be taken back.',
  failed: 'A step has failed. What was done before it is still there: take it back.',
  undoing: 'It is being taken back.',
  left: 'Not everything could be taken back. Mend what is named, then try again.',
};

interface NodeStepsProps {
  readonly bridge: Desktop['bridge'];
  readonly progress: ProgressView;
}

export function NodeSteps({ bridge, progress }: NodeStepsProps): ReactNode {
  const { phase, steps, nodeName, host } = progress;
  const { isBusy, problem, ask } = useAsking();
  const [asks, setAsks] = useState(false);
  const undo = (): void => {
    setAsks(false);
    ask(() => bridge.undoAddedNode());
  };
  return (
    <>
      <p role="status">
        <strong>
          {said(nodeName)} on {said(host)}.
        </strong>{' '}
        {SENTENCES[phase]}
      </p>
      <ol className="setup-steps">
        {steps.map(({ name, title, phase: at, share, lines, reason }) => (
          <li key={name} data-phase={at} aria-current={at === 'running' ? 'step' : undefined}>
            {title} {WORDS[at] !== '' && <span className="note">– {WORDS[at]}</span>}{' '}
            {at === 'running' && share !== undefined && <progress aria-label={title} value={share} max={1} />}
            {reason !== undefined && at !== 'undone' && <p className="problem-line">{said(reason)}</p>}
            {lines.length > 0 && (
              <details open={at === 'failed' || at === 'left'}>
                <summary>{said(lines.at(-1) ?? '')}</summary>
                <pre>{said(lines.join('\n'))}</pre>
              </details>
            )}
          </li>
        ))}
      </ol>
      <footer className="dialog-foot">
        {phase === 'running' && (
          <button type="button" disabled={isBusy} onClick={() => ask(() => bridge.stopAddingNode())}>
            Stop
          </button>
        )}
        {phase === 'done' && !asks && (
          <button type="button" disabled={isBusy} onClick={() => setAsks(true)}>
            Undo…
          </button>
        )}
        {phase === 'done' && asks && (
          <button type="button" className="danger" disabled={isBusy} onClick={undo}>
            Take {said(nodeName)} out of the mesh, and everything off {said(host)}
          </button>
        )}
        {phase === 'done' && (
          <button type="button" className="primary" disabled={isBusy} onClick={() => ask(() => bridge.keepAddedNode())}>
            Keep it
          </button>
        )}
        {(phase === 'failed' || phase === 'left') && (
          <button type="button" className="primary" disabled={isBusy} onClick={undo}>
            Take it back
          </button>
        )}
      </footer>
      {problem !== '' && <Problem>{said(problem)}</Problem>}
    </>
  );
}
