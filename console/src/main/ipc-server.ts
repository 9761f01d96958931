// SPDX-License-Identifier: Apache-2.0
/**
 * The main process's side of the bridge: who asks (the page of the console itself, in no frame within it), what with (as the
 * contract says), and that the answer is one of the contract's.
 */
import { z } from 'zod';
import { contract, type Handlers } from '../ipc/contract.js';
import { channelOf, METHODS, type Method, type Reply } from '../ipc/names.js';
import { isOwnAddress } from './origin.js';

/** Of Electron's WebFrameMain. */
export interface Frame {
  readonly url: string;
  readonly parent: Frame | null;
}

/** Of Electron's IpcMainInvokeEvent. senderFrame: null where the frame has gone meanwhile. */
export interface Invocation {
  readonly senderFrame: Frame | null;
}

/** Of Electron's ipcMain. */
export interface Registrar {
  handle(channel: string, listener: (event: Invocation, ...parameters: unknown[]) => Promise<unknown>): void;
}

export interface IpcLogger {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A failure whose message is meant for the person at the screen; what else is thrown is logged and told as internal. */
export class ConsoleError extends Error {
  override readonly name = 'ConsoleError';
}

export function serveIpc(ipc: Registrar, handlers: Handlers, logger: IpcLogger): void {
  for (const method of METHODS) {
    ipc.handle(channelOf(method), async ({ senderFrame }, ...parameters): Promise<Reply> => {
      if (!isConsole(senderFrame)) {
        logger.warn(
          { method, from: senderFrame?.url.slice(0, 200) ?? 'a frame that has gone' },
          'refused a call of a stranger',
        );
        return { failure: 'only the console itself may ask that' };
      }
      return await answer(method, parameters, handlers, logger);
    });
  }
}

function isConsole(frame: Frame | null): boolean {
  return frame !== null && frame.parent === null && isOwnAddress(frame.url);
}

async function answer(method: Method, parameters: unknown[], handlers: Handlers, logger: IpcLogger): Promise<Reply> {
  const { parameters: expected, result } = contract[method];
  const given = expected.safeParse(parameters);
  if (!given.success) {
    // Never what was given: it may be a passphrase.
    return { failure: `${method} was asked with what it does not take: ${problems(given.error)}` };
  }
  const handler = handlers[method] as (...checked: unknown[]) => unknown;
  try {
    return { value: result.parse(await handler(...given.data)) };
  } catch (reason) {
    if (reason instanceof ConsoleError) return { failure: reason.message };
    const error =
      reason instanceof z.ZodError ? problems(reason) : reason instanceof Error ? reason.stack : String(reason);
    logger.error({ method, error }, 'a call of the console failed');
    return { failure: `${method} failed within the console: its log says why` };
  }
}

function problems(error: z.ZodError): string {
  return error.issues
    .slice(0, 3)
    .map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`))
    .join('; ')
    .slice(0, 500);
}
