// SPDX-License-Identifier: Apache-2.0
/** Taking a node, or a backend at a node, out of service, and back: in force at once, kept by the node, undone by its opposite. */
import type { NodeView } from '@marcher/client/fleet';
import { type ReactNode, useState } from 'react';
import { CommandLine } from '../components/command-line.js';
import { Dialog } from '../components/dialog.js';
import { useConsole } from '../state/console.js';
import { plural } from '../text/quantity.js';
import { said } from '../text/said.js';
import { asFailure, type Failure } from './flow.js';
import { shellLine } from './shell.js';
import { FailureView } from './write-dialog.js';

interface DrainProps {
  readonly node: NodeView;
  /** undefined: the node itself. */
  readonly backend: { readonly service: string; readonly backend: string } | undefined;
  readonly isDrained: boolean;
}

const CALL_MS = 20_000;

export function DrainButton(props: DrainProps): ReactNode {
  const { unlocked } = useConsole();
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <button type="button" disabled={!unlocked} onClick={() => setOpen(true)}>
        {props.isDrained ? 'Undrain' : 'Drain'}
      </button>
      {isOpen && <DrainDialog {...props} onClose={() => setOpen(false)} />}
    </>
  );
}

function DrainDialog({ node, backend, isDrained, onClose }: DrainProps & { readonly onClose: () => void }): ReactNode {
  const { reach, notify } = useConsole();
  // What it was when it was asked for: the state changes under it.
  const [drains, setDrains] = useState(!isDrained);
  const [typed, setTyped] = useState('');
  const [failure, setFailure] = useState<Failure | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  const [done, setDone] = useState<string | undefined>(undefined);
  const what =
    backend === undefined ? `node ${node.name}` : `backend ${backend.backend} of ${backend.service} at ${node.name}`;
  const target = backend ?? { service: '', backend: '' };
  const command = shellLine(
    'marcher',
    drains ? 'drain' : 'undrain',
    ...(node.isEntry ? [] : ['--node', node.name]),
    ...(backend === undefined ? [] : [backend.service, backend.backend]),
  );
  // Of all its services at once: that is worth a name.
  const needsName = drains && backend === undefined && done === undefined;

  const run = async (wanted: boolean): Promise<void> => {
    setBusy(true);
    setFailure(undefined);
    try {
      const { node: calls } = node.isEntry ? reach.entry : reach.node(node.key);
      if (wanted) {
        const { connections } = await calls.drain(target, { timeoutMs: CALL_MS });
        setDone(
          `It takes no new connections; ${connections === 0n ? 'none are open' : `${plural(connections, 'connection')} may finish`}.`,
        );
      } else {
        await calls.undrain(target, { timeoutMs: CALL_MS });
        setDone('It takes new connections again.');
      }
      setDrains(wanted);
      notify(`${wanted ? 'Drained' : 'Undrained'}: ${said(what)}.`);
    } catch (reason) {
      setFailure(asFailure(reason));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={`${drains ? 'Drain' : 'Undrain'} ${said(what)}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!needsName || typed === node.name) void run(drains);
        }}
      >
        {done === undefined ? (
          <p>
            {drains
              ? 'It takes no new connections from now on; those that are open may finish. Undrain takes it back.'
              : 'It takes new connections again.'}
          </p>
        ) : (
          <p role="status">{done}</p>
        )}
        {needsName && (
          <label className="field">
            Type {said(node.name)} to confirm
            <input value={typed} autoComplete="off" onChange={(event) => setTyped(event.target.value)} />
          </label>
        )}
        {failure !== undefined && <FailureView failure={failure} />}
        <CommandLine command={command} />
        <footer className="dialog-foot">
          {done !== undefined && (
            <button type="button" disabled={isBusy} onClick={() => void run(!drains)}>
              Undo
            </button>
          )}
          <button type="button" className={done === undefined ? '' : 'primary'} onClick={onClose}>
            {done === undefined ? 'Cancel' : 'Done'}
          </button>
          {done === undefined && (
            <button
              type="submit"
              className={needsName ? 'danger' : 'primary'}
              disabled={isBusy || (needsName && typed !== node.name)}
            >
              {drains ? 'Drain' : 'Undrain'}
            </button>
          )}
        </footer>
      </form>
    </Dialog>
  );
}
