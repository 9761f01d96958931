// SPDX-License-Identifier: Apache-2.0
/** Begins a session at the mesh that is shown, while what was heard of it stays where it is. */
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { Dialog } from '../../components/dialog.js';
import { said } from '../../text/said.js';
import { useAsking } from '../asking.js';
import { LoginFields } from './login-fields.js';
import type { MeshSession } from './mesh-session.js';

interface LoginDialogProps {
  readonly session: MeshSession;
  readonly mesh: string;
  /** isIn: somebody is logged in. */
  readonly onClose: (isIn: boolean) => void;
}

export function LoginDialog({ session, mesh, onClose }: LoginDialogProps): ReactNode {
  const { view, phase } = session.state;
  const [values, setValues] = useState({ user: view?.user ?? '', password: '', code: '' });
  const { isBusy, problem, ask } = useAsking();
  const fields = useRef<{ focus(): void }>(null);
  // After the dialog has taken the focus to its first button.
  useEffect(() => fields.current?.focus(), []);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    ask(async () => {
      try {
        await session.logIn(values);
      } finally {
        setValues({ user: values.user, password: '', code: '' });
      }
      onClose(true);
    });
  };
  return (
    <Dialog title={`Log in at ${said(mesh)}`} onClose={() => onClose(false)}>
      <form onSubmit={submit}>
        {phase === 'over' && view?.user !== undefined && <p>The session of {said(view.user)} is over.</p>}
        <p>The password and the code are kept nowhere. The session is kept for commands in a terminal, too.</p>
        <LoginFields ref={fields} mesh={mesh} values={values} set={setValues} />
        {problem !== '' && (
          <p role="alert" className="problem-line">
            {said(problem)}
          </p>
        )}
        <footer className="dialog-foot">
          <button type="button" onClick={() => onClose(false)}>
            Not now
          </button>
          <button type="submit" className="primary" disabled={isBusy}>
            {isBusy ? 'Logging in…' : 'Log in'}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
