// SPDX-License-Identifier: Apache-2.0
import { useEffect, useState, useSyncExternalStore } from 'react';
import { useConsole, useReach } from '../../state/console.js';
import type { Desktop } from '../desktop.js';
import { MeshSession, type SessionState } from './mesh-session.js';

const NONE: SessionState = { view: undefined, phase: 'good', looks: 0 };
const clock = {
  nowMs: () => Date.now(),
  after(ms: number, run: () => void): () => void {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Of the mesh that is shown, as long as the page is open. undefined: not begun yet. */
export function useMeshSession({ bridge, shown }: Desktop): {
  readonly session: MeshSession | undefined;
  readonly state: SessionState;
} {
  const { fleet, notify } = useConsole();
  const reach = useReach();
  const [session, setSession] = useState<MeshSession | undefined>(undefined);
  useEffect(() => {
    const made = new MeshSession({ bridge, mesh: shown, fleet, reach, clock });
    setSession(made);
    made.start().catch((error: Error) => notify(error.message));
    return () => made.close();
  }, [bridge, shown, fleet, reach, notify]);
  const state = useSyncExternalStore(session?.subscribe ?? never, () => session?.state ?? NONE);
  return { session, state };
}

function never(): () => void {
  return () => undefined;
}
