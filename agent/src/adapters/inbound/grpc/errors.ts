// SPDX-License-Identifier: Apache-2.0
/**
 * Application errors as RPC errors.
 *
 * | application | code                | detail            |
 * |-------------|---------------------|-------------------|
 * | not_found   | NOT_FOUND           |                   |
 * | conflict    | ABORTED             |                   |
 * | invalid     | INVALID_ARGUMENT    | ValidationFailure |
 * | refused     | FAILED_PRECONDITION | ValidationFailure |
 * | unavailable | UNAVAILABLE         |                   |
 * | other       | INTERNAL            | none; the details are in the agent's log |
 */
import { Code, ConnectError } from '@connectrpc/connect';
import { ValidationFailureSchema, type Violation } from '@marcher/proto/marcher/v1/config_service_pb';
import { ApplicationError, type ApplicationErrorCode } from '../../../ports/use-cases.js';

const codes: Readonly<Record<ApplicationErrorCode, Code>> = {
  not_found: Code.NotFound,
  conflict: Code.Aborted,
  invalid: Code.InvalidArgument,
  refused: Code.FailedPrecondition,
  denied: Code.PermissionDenied,
  slowed: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
};

/**
 * gRPC carries details in a trailer, and clients bound the size of headers (Node and grpc-go: 16 KiB together). The
 * first violations fit; the message says how many there are altogether.
 */
const detailMaxBytes = 8 * 1024;
const messageMaxCharacters = 2000;

export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof ApplicationError) {
    let message = shorten(error.message, messageMaxCharacters);
    if (error.violations.length === 0) return new ConnectError(message, codes[error.code]);
    const shown = fitting(error.violations);
    if (shown.length < error.violations.length) {
      message += ` (${error.violations.length} violations, the first ${shown.length} are listed)`;
    }
    return new ConnectError(message, codes[error.code], undefined, [
      { desc: ValidationFailureSchema, value: { violations: shown } },
    ]);
  }
  return new ConnectError(
    "internal error: the agent's log has the details",
    Code.Internal,
    undefined,
    undefined,
    error,
  );
}

export function invalidArgument(message: string): ConnectError {
  return new ConnectError(message, Code.InvalidArgument);
}

function fitting(violations: readonly Violation[]): Violation[] {
  const shown: Violation[] = [];
  let bytes = 0;
  for (const violation of violations) {
    const short: Violation = {
      ...violation,
      path: shorten(violation.path, 500),
      reason: shorten(violation.reason, 1000),
      fix: shorten(violation.fix, 500),
    };
    bytes += Buffer.byteLength(short.path) + Buffer.byteLength(short.reason) + Buffer.byteLength(short.fix) + 12;
    if (bytes > detailMaxBytes && shown.length > 0) break;
    shown.push(short);
  }
  return shown;
}

function shorten(text: string, maxCharacters: number): string {
  return text.length <= maxCharacters ? text : `${text.slice(0, maxCharacters - 1)}…`;
}
