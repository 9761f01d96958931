// SPDX-License-Identifier: Apache-2.0
/** All that may end the console, stop it or write over it, from the outside: signals, exceptions, warnings, a terminal that goes. */
export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
export type EndingSignal = (typeof ENDING_SIGNALS)[number];

export interface Guarded {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  /** undefined: the terminal is gone. */
  end(signal: EndingSignal | undefined): void;
  fail(error: unknown): void;
  /** SIGTSTP came: whoever handles it has to stop the process itself. */
  stop(): void;
  /** It goes on after it was stopped. */
  goOn(): void;
  resize(): void;
  /** The process ends now, whatever the reason: what is done here is done at once. */
  exit(): void;
}

type Handler = (...values: never[]) => void;

/** Gives what takes all of it back. */
export function guard({ stdin, stdout, end, fail, stop, goOn, resize, exit }: Guarded): () => void {
  const onSignal = (signal: NodeJS.Signals): void => end(signal as EndingSignal);
  const onGone = (): void => end(undefined);
  // Node.js prints warnings over the picture, unless somebody else takes them.
  const warned = process.listeners('warning');
  process.removeAllListeners('warning');
  const ofProcess: readonly (readonly [string, Handler])[] = [
    ...ENDING_SIGNALS.map((signal) => [signal, onSignal] as const),
    ['SIGTSTP', stop],
    ['SIGCONT', goOn],
    ['uncaughtException', fail],
    ['unhandledRejection', fail],
    ['exit', exit],
    ['warning', () => undefined],
  ];
  for (const [event, handler] of ofProcess) process.on(event, handler as () => void);
  stdout.on('resize', resize);
  stdout.on('error', onGone);
  stdin.on('end', onGone);
  return () => {
    for (const [event, handler] of ofProcess) process.off(event, handler as () => void);
    for (const listener of warned) process.on('warning', listener);
    stdout.off('resize', resize);
    stdout.off('error', onGone);
    stdin.off('end', onGone);
  };
}
