// SPDX-License-Identifier: Apache-2.0
/** What a page offers to do, and the dialog of what was chosen: loaded when somebody does something. */
import { lazy, type ReactNode, Suspense, useCallback, useState } from 'react';
import { useConsole } from '../state/console.js';
import type { Doing } from './deed-dialog.js';

const DeedDialog = lazy(() => import('./deed-dialog.js'));
const actions = () => import('@marcher/client/actions');
export type Actions = Awaited<ReturnType<typeof actions>>;

export interface Deeds {
  /** Opens the dialog of what is made of the actions. */
  readonly begin: (make: (actions: Actions) => Doing | Promise<Doing>) => void;
  /** The dialog, where one is open. */
  readonly dialog: ReactNode;
}

/** onChange: something was done. */
export function useDeeds(onChange: () => void): Deeds {
  const { notify } = useConsole();
  const [doing, setDoing] = useState<Doing | undefined>(undefined);
  const begin = useCallback<Deeds['begin']>(
    (make) => {
      actions()
        .then(make)
        .then(setDoing, (reason: unknown) => notify((reason as Error).message));
    },
    [notify],
  );
  const dialog =
    doing === undefined ? null : (
      <Suspense>
        <DeedDialog doing={doing} onClose={() => setDoing(undefined)} onChange={onChange} />
      </Suspense>
    );
  return { begin, dialog };
}

interface DoButtonProps {
  readonly children: string;
  readonly onClick: () => void;
  readonly tone?: 'primary' | 'danger';
  /** Of several with the same word: what this one is about. */
  readonly label?: string;
  /** Why it is not offered, beside being locked. undefined: it is. */
  readonly not?: string | undefined;
}

/** Of what changes something: while it is locked it says so. */
export function DoButton({ children, onClick, tone, label, not }: DoButtonProps): ReactNode {
  const { unlocked } = useConsole();
  const why = not ?? (unlocked ? undefined : 'Read-only: unlock changes first');
  return (
    <button
      type="button"
      className={tone ?? ''}
      aria-label={label}
      disabled={why !== undefined}
      title={why}
      onClick={onClick}
    >
      {children}
    </button>
  );
}
