// SPDX-License-Identifier: Apache-2.0
import type { ReactNode } from 'react';
import { useConsole, useFleet } from '../state/console.js';
import { said } from '../text/said.js';
import { Dialog } from './dialog.js';

export function UnlockDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const { setUnlocked } = useConsole();
  const { mesh } = useFleet();
  const what = mesh === undefined ? 'this node' : `mesh ${said(mesh.name)}`;
  return (
    <Dialog title={`Unlock changes of ${what}`} onClose={onClose}>
      <p>
        Changes are offered here until you lock it again, nothing was changed for 15 minutes, or this page is closed.
        Each is planned and shown before it is made, and carried by every node.
      </p>
      <footer className="dialog-foot">
        <button type="button" onClick={onClose}>
          Stay read-only
        </button>
        <button
          type="button"
          className="primary"
          onClick={() => {
            setUnlocked(true);
            onClose();
          }}
        >
          Unlock
        </button>
      </footer>
    </Dialog>
  );
}
