// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process';

/** The next message of a child process; that it ends before is an error. Listeners do not stay. */
export const answer = <T>(child: ChildProcess, what: string): Promise<T> =>
  new Promise((resolve, reject) => {
    const answered = (message: unknown): void => settle(() => resolve(message as T));
    // After the last message, as the end of the process need not be.
    const ended = (): void => settle(() => reject(new Error(`${what} has ended`)));
    const failed = (error: Error): void => settle(() => reject(error));
    const settle = (then: () => void): void => {
      child.off('message', answered).off('disconnect', ended).off('error', failed);
      then();
    };
    child.on('message', answered).on('disconnect', ended).on('error', failed);
  });
