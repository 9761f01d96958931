// SPDX-License-Identifier: Apache-2.0
/** The secrets that this console keeps: who keeps them, and by which passphrase where the system does not. */
import { type FormEvent, type ReactNode, useEffect, useState } from 'react';
import type { Bridge, VaultState } from '../../ipc/contract.js';
import { Dialog } from '../components/dialog.js';
import { said } from '../text/said.js';

const SAID: Readonly<Record<VaultState, string>> = {
  open: 'They can be read and kept: passphrases of SSH keys and passwords of SSH servers, where you have said so.',
  locked: 'They are locked by the passphrase that was chosen for them.',
  new: 'This system keeps no secrets (there is no keyring). With a passphrase of yours they can be kept; without, they are asked for each time.',
};

export function SecretsDialog({
  bridge,
  onClose,
}: {
  readonly bridge: Bridge;
  readonly onClose: () => void;
}): ReactNode {
  const [state, setState] = useState<VaultState | undefined>(undefined);
  const [passphrase, setPassphrase] = useState('');
  const [again, setAgain] = useState('');
  const [forgetting, setForgetting] = useState(false);
  const [problem, setProblem] = useState('');
  const become = (next: Promise<VaultState>): void => {
    setProblem('');
    next.then(
      (known) => {
        setState(known);
        setForgetting(false);
        setPassphrase('');
        setAgain('');
      },
      (error: Error) => setProblem(error.message),
    );
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked once, when it opens
  useEffect(() => become(bridge.vaultState()), []);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (state === 'new' && passphrase !== again) setProblem('The two are not the same.');
    else become(bridge.openVault(passphrase));
  };
  return (
    <Dialog title="Secrets of this console" onClose={onClose}>
      <form onSubmit={submit}>
        {state !== undefined && <p>{SAID[state]}</p>}
        {(state === 'new' || state === 'locked') && (
          <label className="field">
            <span>Passphrase{state === 'new' && ', 8 characters or more'}</span>
            <input
              type="password"
              autoComplete="off"
              autoFocus
              required
              minLength={8}
              maxLength={1_024}
              value={passphrase}
              onChange={(event) => setPassphrase(event.target.value)}
            />
          </label>
        )}
        {state === 'new' && (
          <label className="field">
            <span>The same again</span>
            <input
              type="password"
              autoComplete="off"
              required
              value={again}
              onChange={(event) => setAgain(event.target.value)}
            />
          </label>
        )}
        {problem !== '' && (
          <p role="alert" className="problem-line">
            {said(problem)}
          </p>
        )}
        {forgetting && <p>All that is kept is removed from this machine. It is asked for again when it is needed.</p>}
        <footer className="dialog-foot">
          {state !== 'new' && !forgetting && (
            <button type="button" onClick={() => setForgetting(true)}>
              Forget them…
            </button>
          )}
          {forgetting && (
            <button type="button" className="danger" onClick={() => become(bridge.forgetSecrets())}>
              Forget them all
            </button>
          )}
          {state === 'open' && (
            <button type="button" onClick={() => become(bridge.closeVault())}>
              Lock
            </button>
          )}
          {(state === 'new' || state === 'locked') && (
            <button type="submit" className="primary">
              {state === 'new' ? 'Choose it' : 'Unlock'}
            </button>
          )}
        </footer>
      </form>
    </Dialog>
  );
}
