// SPDX-License-Identifier: Apache-2.0
/** Who one is to the agent, and what that may do; in the desktop app logging in and out, too. */
import { grantOf, grantText } from '@marcher/client/actions';
import type { WhoAmIResponse } from '@marcher/proto/marcher/v1/access_service_pb';
import { type ReactNode, useEffect, useState } from 'react';
import type { SessionView } from '../../ipc/session-contract.js';
import { Dialog } from '../components/dialog.js';
import { Facts } from '../components/panel.js';
import { useReach } from '../state/console.js';
import { clock, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { enrolling, renewingCodes } from '../writes/access-forms.js';
import { DoButton, useDeeds } from '../writes/deeds.js';

const ASK_MS = 10_000;
/** Of a name as agents say it: a user, and not a key or whoever is on the machine. */
const USER = 'user:';

/** As an agent says by what it knows somebody (docs/access.md). */
const BY: Readonly<Record<string, string>> = {
  socket: 'the socket of its machine',
  loopback: 'its port of loopback',
  certificate: 'a client certificate',
  session: 'a session',
  'api-key': 'an API key',
};

interface AccountDialogProps {
  readonly onClose: () => void;
  /** undefined: in a browser, where the gateway has what lets one in. */
  readonly session?: {
    readonly view: SessionView;
    readonly isOver: boolean;
    logIn(): void;
    /** Fails as Error with a sentence. */
    logOut(): Promise<void>;
  };
}

export function AccountDialog({ onClose, session }: AccountDialogProps): ReactNode {
  const reach = useReach();
  const [caller, setCaller] = useState<WhoAmIResponse | undefined>(undefined);
  const [problem, setProblem] = useState('');
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    const given = new AbortController();
    reach.entry.access.whoAmI({}, { timeoutMs: ASK_MS, signal: given.signal }).then(setCaller, (error: Error) => {
      if (!given.signal.aborted) setProblem(error.message);
    });
    return () => given.abort();
  }, [reach]);
  const logOut = (): void => {
    setBusy(true);
    session
      ?.logOut()
      .then(onClose, (error: Error) => setProblem(error.message))
      .finally(() => setBusy(false));
  };
  const isIn = session?.view.by === 'session' && session.view.user !== undefined;
  const { begin, dialog } = useDeeds(() => undefined);
  const user = caller?.name.startsWith(USER) === true ? caller.name.slice(USER.length) : undefined;
  if (dialog !== null) return dialog;
  return (
    <Dialog title="Account" onClose={onClose}>
      {caller === undefined && problem === '' && <p aria-busy="true">Asking…</p>}
      {caller !== undefined && <Facts facts={factsOf(caller)} />}
      {user !== undefined && (
        <p className="buttons">
          <DoButton onClick={() => begin((actions) => enrolling(actions, reach.entry, user))}>
            Enrol authenticator
          </DoButton>
          <DoButton onClick={() => begin((actions) => renewingCodes(actions, reach.entry, user))}>
            New recovery codes
          </DoButton>
        </p>
      )}
      {problem !== '' && (
        <p role="alert" className="problem-line">
          {said(problem)}
        </p>
      )}
      <p className="note">{sentence(session?.view)}</p>
      <footer className="dialog-foot">
        <button type="button" onClick={onClose}>
          Close
        </button>
        {isIn && (
          <button type="button" disabled={isBusy} onClick={logOut}>
            Log out
          </button>
        )}
        {session !== undefined && session.view.by !== 'machine' && (
          <button type="button" className="primary" onClick={() => session.logIn()}>
            {isIn && !session.isOver ? 'Log in anew…' : 'Log in…'}
          </button>
        )}
      </footer>
    </Dialog>
  );
}

function factsOf(caller: WhoAmIResponse): readonly (readonly [string, ReactNode])[] {
  const ends = timeMs(caller.sessionEnds);
  return [
    ['You are', said(caller.name)],
    ['Known by', BY[caller.via] ?? said(caller.via)],
    ['May do', said(grantText(grantOf(caller)))],
    ...(ends === undefined ? [] : [['Session ends', clock(ends)] as const]),
  ];
}

function sentence(view: SessionView | undefined): string {
  switch (view?.by) {
    case undefined:
      return 'This page is served by a gateway, which stands for whoever has started it. Logging in and out: marcher login and marcher logout in a terminal. It goes on with the next login by itself.';
    case 'machine':
      return "The agent's machine knows who you are: there is no login.";
    case 'certificate':
      return 'You come with the client certificate of this target. A login takes its place.';
    case 'session':
      return 'A session is renewed while this window is open, until it ends. Commands in a terminal have the same one.';
  }
}
