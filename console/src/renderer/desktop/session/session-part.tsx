// SPDX-License-Identifier: Apache-2.0
/** Says on every page that nobody is logged in any more, and asks who is there: once, and when they are in the middle of nothing else. */
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from 'react';
import { useConsole } from '../../state/console.js';
import { tellLogin } from '../../state/logins.js';
import { clock } from '../../text/quantity.js';
import { said } from '../../text/said.js';
import type { Desktop } from '../desktop.js';
import { LoginDialog } from './login-dialog.js';
import { useMeshSession } from './use-mesh-session.js';

const AccountDialog = lazy(async () => ({
  default: (await import('../../account/account-dialog.js')).AccountDialog,
}));

interface SessionPartProps {
  readonly desktop: Desktop;
  /** Somebody wants to know who they are. */
  readonly isAccountOpen: boolean;
  readonly closeAccount: () => void;
}

export function SessionPart({ desktop, isAccountOpen, closeAccount }: SessionPartProps): ReactNode {
  const { session, state } = useMeshSession(desktop);
  const { notify } = useConsole();
  const { view, phase, looks } = state;
  const [isAsking, setAsking] = useState(false);
  const wasTold = useRef<'asked' | 'warned' | undefined>(undefined);
  // biome-ignore lint/correctness/useExhaustiveDependencies: who was busy at one look is asked at the next
  useEffect(() => {
    if (phase === 'good') wasTold.current = undefined;
    else if (phase === 'over') {
      if (wasTold.current === 'asked' || looks === 0 || document.querySelector('dialog[open]') !== null) return;
      wasTold.current = 'asked';
      setAsking(true);
    } else if (wasTold.current === undefined) {
      wasTold.current = 'warned';
      notify(`The session ends at ${clock(view?.endsMs)} whatever is done: Account begins another.`);
    }
  }, [phase, looks]);
  if (session === undefined || view === undefined) return null;

  const logIn = (): void => {
    closeAccount();
    setAsking(true);
  };
  const loggedIn = (isIn: boolean): void => {
    setAsking(false);
    if (!isIn) return;
    desktop.refresh();
    tellLogin();
    notify(
      `The session of ${said(session.state.view?.user ?? '')} goes on until ${clock(session.state.view?.endsMs)}.`,
    );
  };
  const logOut = async (): Promise<void> => {
    // Who has just left is not asked to come back.
    wasTold.current = 'asked';
    try {
      await session.logOut();
    } finally {
      desktop.refresh();
    }
  };
  return (
    <>
      {phase === 'over' && (
        <section className="banner" aria-label="Session">
          <p>
            <strong>
              {view.user === undefined ? 'Nobody is logged in.' : `The session of ${said(view.user)} is over.`}
            </strong>{' '}
            Nothing new is heard until somebody logs in.{' '}
            <button type="button" className="quiet" onClick={logIn}>
              Log in…
            </button>
          </p>
        </section>
      )}
      <Suspense fallback={null}>
        {isAccountOpen && (
          <AccountDialog onClose={closeAccount} session={{ view, isOver: phase === 'over', logIn, logOut }} />
        )}
      </Suspense>
      {isAsking && <LoginDialog session={session} mesh={desktop.shown} onClose={loggedIn} />}
    </>
  );
}
