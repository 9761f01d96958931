// SPDX-License-Identifier: Apache-2.0
/** An agent elsewhere: its address, whose root that is, and who logs in. What is added here `marcher` knows as well. */
import { type FormEvent, type ReactNode, useState } from 'react';
import type { RootView } from '../../../ipc/assistant-contract.js';
import { Panel, Problem } from '../../components/panel.js';
import { said } from '../../text/said.js';
import { useAsking } from '../asking.js';
import type { Desktop } from '../desktop.js';
import { LoginFields } from '../session/login-fields.js';

type Stage =
  | { readonly at: 'address' }
  | { readonly at: 'root'; readonly roots: readonly RootView[] }
  | { readonly at: 'login' };

export function AddMesh({ desktop: { bridge, switchTo } }: { readonly desktop: Desktop }): ReactNode {
  const [stage, setStage] = useState<Stage>({ at: 'address' });
  const [name, setName] = useState('');
  const [url, setUrl] = useState('https://');
  const [compared, setCompared] = useState<string | undefined>(undefined);
  const [login, setLogin] = useState({ user: '', password: '', code: '' });
  const { isBusy, problem, ask } = useAsking();
  const isTls = url.startsWith('https://');

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    ask(async () => {
      if (stage.at === 'address') {
        if (isTls) {
          setCompared(undefined);
          setStage({ at: 'root', roots: await bridge.rootsOf(url) });
          return;
        }
        await bridge.addMesh({ name, url });
        switchTo(name);
      } else if (stage.at === 'root') {
        await bridge.addMesh({ name, url, ...(compared === undefined ? {} : { fingerprint: compared }) });
        setStage({ at: 'login' });
      } else {
        try {
          await bridge.logIn({ mesh: name, ...login });
        } finally {
          setLogin({ user: login.user, password: '', code: '' });
        }
        switchTo(name);
      }
    });
  };
  return (
    <Panel title="A mesh elsewhere">
      <form onSubmit={submit}>
        {stage.at === 'address' && (
          <div className="setup-form">
            <label className="field">
              Name
              <input
                value={name}
                required
                maxLength={63}
                pattern="[A-Za-z0-9][A-Za-z0-9._\-]*"
                title="letters, digits, &quot;.&quot;, &quot;_&quot; and &quot;-&quot;"
                onChange={(event) => setName(event.target.value)}
              />
            </label>
            <label className="field">
              Address: https://HOST:PORT, or ssh://USER@HOST
              <input value={url} required maxLength={1_024} onChange={(event) => setUrl(event.target.value.trim())} />
            </label>
            <button type="submit" className="primary" disabled={isBusy}>
              {isTls ? 'Look' : 'Add it'}
            </button>
          </div>
        )}
        {stage.at === 'root' && (
          <>
            {stage.roots.length === 0 ? (
              <p>It shows no root of its own: a public CA has to know it, or it is not trusted.</p>
            ) : (
              <fieldset>
                <legend>
                  Compare with what <code>marcher mesh certificate roots</code> says on a node. Nothing was sent to it
                  yet.
                </legend>
                {stage.roots.map(({ fingerprint, subject, expires }) => (
                  <label key={fingerprint} className="field-check">
                    <input
                      type="checkbox"
                      checked={compared === fingerprint}
                      onChange={(event) => setCompared(event.target.checked ? fingerprint : undefined)}
                    />{' '}
                    I have compared it: <code className="fingerprint">{fingerprint}</code> ({said(subject)}, until{' '}
                    {expires.slice(0, 10)})
                  </label>
                ))}
              </fieldset>
            )}
            <footer className="dialog-foot">
              <button type="button" onClick={() => setStage({ at: 'address' })}>
                Back
              </button>
              <button
                type="submit"
                className="primary"
                disabled={isBusy || (stage.roots.length > 0 && compared === undefined)}
              >
                Add it
              </button>
            </footer>
          </>
        )}
        {stage.at === 'login' && (
          <div className="setup-form">
            <LoginFields mesh={name} values={login} set={setLogin} />
            <button type="submit" className="primary" disabled={isBusy}>
              Log in
            </button>
            <button type="button" onClick={() => switchTo(name)}>
              Without a login
            </button>
          </div>
        )}
        {isBusy && <p aria-busy="true">Asking…</p>}
        {problem !== '' && <Problem>{said(problem)}</Problem>}
      </form>
    </Panel>
  );
}
