// SPDX-License-Identifier: Apache-2.0
/** Taking a node, or a backend at a node, out of service, and back: in force at once, kept by the node, undone by its opposite. */
import type { DrainDraft, DrainOptions } from '@marcher/client/actions';
import type { NodeView } from '@marcher/client/fleet';
import { type ReactNode, useState } from 'react';
import { CommandLine } from '../components/command-line.js';
import { Dialog } from '../components/dialog.js';
import { Problem } from '../components/panel.js';
import { useConsole } from '../state/console.js';
import { plural } from '../text/quantity.js';
import { said } from '../text/said.js';

interface DrainButtonProps {
  readonly node: NodeView;
  /** undefined: the node itself. */
  readonly backend: DrainOptions['backend'];
  readonly isDrained: boolean;
}

const CALL_MS = 20_000;

export function DrainButton({ node, backend, isDrained }: DrainButtonProps): ReactNode {
  const { unlocked, reach, notify } = useConsole();
  const [draft, setDraft] = useState<DrainDraft | undefined>(undefined);
  const verb = isDrained ? 'undrain' : 'drain';
  const begin = async (): Promise<void> => {
    const [{ DrainDraft }, calls] = await Promise.all([import('@marcher/client/actions'), reach()]);
    const { key, name, isEntry } = node;
    const nodes = [{ key, name, isEntry, calls: isEntry ? calls.entry : calls.node(key) }];
    setDraft(new DrainDraft({ verb, nodes, ...(backend === undefined ? {} : { backend }) }));
  };
  return (
    <>
      <button
        type="button"
        disabled={!unlocked}
        onClick={() => begin().catch((reason: Error) => notify(said(reason.message)))}
      >
        {isDrained ? 'Undrain' : 'Drain'}
      </button>
      {draft !== undefined && <DrainDialog first={draft} verb={verb} onClose={() => setDraft(undefined)} />}
    </>
  );
}

interface DrainDialogProps {
  readonly first: DrainDraft;
  readonly verb: DrainOptions['verb'];
  readonly onClose: () => void;
}

function DrainDialog({ first, verb, onClose }: DrainDialogProps): ReactNode {
  const { notify, change } = useConsole();
  const [typed, setTyped] = useState('');
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  const [done, setDone] = useState<{ readonly text: string; readonly undo: DrainDraft | undefined } | undefined>();
  const { confirmation } = first;
  const isConfirmed = confirmation.kind === 'plain' || typed === confirmation.text;
  const word = verb === 'drain' ? 'Drain' : 'Undrain';

  const run = async (draft: DrainDraft): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      const [result] = await change(() => draft.apply(AbortSignal.timeout(CALL_MS)));
      if (result === undefined || 'error' in result) throw new Error(result?.error ?? 'no node has answered');
      const isDrained = draft.title.startsWith('drain');
      const open =
        result.connections === 0n ? 'none are open' : `${plural(result.connections, 'connection')} may finish`;
      const text = isDrained ? `It takes no new connections; ${open}.` : 'It takes new connections again.';
      setDone({ text, undo: draft.undo([result]) });
      notify(`Done: ${said(draft.title)}.`);
    } catch (reason) {
      setProblem((reason as Error).message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={said(confirmation.question)} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isConfirmed) void run(first);
        }}
      >
        {done === undefined ? (
          <p>
            {verb === 'drain'
              ? 'It takes no new connections from now on; those that are open may finish. Undrain takes it back.'
              : 'It takes new connections again.'}
          </p>
        ) : (
          <p role="status">{done.text}</p>
        )}
        {done === undefined && confirmation.kind === 'typed' && (
          <label className="field">
            Type {said(confirmation.text)} to confirm
            <input value={typed} autoComplete="off" onChange={(event) => setTyped(event.target.value)} />
          </label>
        )}
        {problem !== undefined && <Problem>{said(problem)}</Problem>}
        <CommandLine command={first.asCommand()} />
        <footer className="dialog-foot">
          {done === undefined ? (
            <>
              <button type="button" onClick={onClose}>
                Cancel
              </button>
              <button
                type="submit"
                className={confirmation.kind === 'typed' ? 'danger' : 'primary'}
                disabled={isBusy || !isConfirmed}
              >
                {word}
              </button>
            </>
          ) : (
            <>
              {done.undo !== undefined && (
                <button type="button" disabled={isBusy} onClick={() => void run(done.undo as DrainDraft)}>
                  Undo
                </button>
              )}
              <button type="button" className="primary" onClick={onClose}>
                Done
              </button>
            </>
          )}
        </footer>
      </form>
    </Dialog>
  );
}
