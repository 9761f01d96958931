// SPDX-License-Identifier: Apache-2.0
/** What one call has answered, for pages that ask once rather than watch. */
import { useCallback, useEffect, useState } from 'react';
import { onLogin } from './logins.js';

export interface Asked<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
  readonly isLoading: boolean;
  again(): void;
}

/** ask: the same function as long as the question is the same. What was answered stays while it is asked again. */
export function useAnswer<T>(ask: (signal: AbortSignal) => Promise<T>): Asked<T> {
  const [value, setValue] = useState<T | undefined>(undefined);
  const [error, setError] = useState<string | undefined>(undefined);
  const [isLoading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  useEffect(() => {
    void round;
    const giveUp = new AbortController();
    setLoading(true);
    ask(giveUp.signal)
      .then(
        (answer) => {
          if (giveUp.signal.aborted) return;
          setValue(answer);
          setError(undefined);
        },
        (reason: unknown) => {
          if (!giveUp.signal.aborted) setError((reason as Error).message);
        },
      )
      .finally(() => {
        if (!giveUp.signal.aborted) setLoading(false);
      });
    return () => giveUp.abort();
  }, [ask, round]);
  const again = useCallback(() => setRound((before) => before + 1), []);
  useEffect(() => onLogin(again), [again]);
  return { value, error, isLoading, again };
}
