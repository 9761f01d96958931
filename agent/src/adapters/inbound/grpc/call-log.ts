// SPDX-License-Identifier: Apache-2.0
/**
 * One log line per call: who, what, how it ended and how long it took. Never what was in it.
 * Changes and failures of the server are logged at info and above, everything else at debug.
 */
import { Code, ConnectError, type Interceptor } from '@connectrpc/connect';
import type { ApiLogger } from './api-log.js';
import { changingMethods, peerKey } from './call-gate.js';
import { toConnectError } from './errors.js';

export function createCallLog(logger: ApiLogger): Interceptor {
  return (next) => async (request) => {
    const started = performance.now();
    const method = `${request.service.typeName}/${request.method.name}`;
    const author = request.contextValues.get(peerKey).author;
    const ended = (error?: ConnectError): void => {
      const fields = {
        method,
        caller: author,
        code: error === undefined ? 'ok' : Code[error.code],
        ms: Math.round((performance.now() - started) * 100) / 100,
        ...(error === undefined ? {} : { error: error.rawMessage }),
        ...(error?.code === Code.Internal ? { cause: describe(error.cause) } : {}),
      };
      if (error?.code === Code.Internal) logger.error(fields, 'call failed');
      else if (changingMethods.has(method)) logger.info(fields, error === undefined ? 'change made' : 'change refused');
      else logger.debug(fields, 'call');
    };
    try {
      const response = await abandonable(next(request), request.signal, request.stream);
      if (!response.stream) {
        ended();
        return response;
      }
      return { ...response, message: watched(response.message, request.signal, ended) };
    } catch (reason) {
      const error = toConnectError(reason);
      ended(error);
      throw error;
    }
  };
}

/**
 * A unary call is answered at its deadline even when the work behind it takes longer. As everywhere with gRPC, a change
 * may then still have been made: the caller reads the version to find out.
 */
function abandonable<T>(work: Promise<T>, signal: AbortSignal, stream: boolean): Promise<T> {
  if (stream) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(ConnectError.from(signal.reason, Code.Canceled));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

async function* watched<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal,
  ended: (error?: ConnectError) => void,
): AsyncIterable<T> {
  let failure: ConnectError | undefined;
  try {
    yield* messages;
  } catch (reason) {
    // A body that breaks off because the client has gone is no failure of the server.
    failure = signal.aborted ? ConnectError.from(signal.reason, Code.Canceled) : toConnectError(reason);
    throw failure;
  } finally {
    ended(failure);
  }
}

function describe(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
}
