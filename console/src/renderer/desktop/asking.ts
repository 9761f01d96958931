// SPDX-License-Identifier: Apache-2.0
import { useCallback, useState } from 'react';

/** One thing that is asked of the main process: while it runs, and why it failed. */
export function useAsking(): {
  readonly isBusy: boolean;
  readonly problem: string;
  ask(run: () => Promise<void>): void;
} {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  const ask = useCallback((run: () => Promise<void>) => {
    setBusy(true);
    setProblem('');
    run()
      .catch((error: Error) => setProblem(error.message))
      .finally(() => setBusy(false));
  }, []);
  return { isBusy, problem, ask };
}
