// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { ValidationFailureSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { expect, test } from 'vitest';
import { toAgentError } from '../errors.js';
import { parseTarget } from '../target.js';
import { fromRpcFailure, headersOf } from './rpc-error.js';

/** As the official client tells of a trailer. */
function trailerOf(error: ConnectError): Record<string, string> {
  const metadata = Object.fromEntries(setTrailerStatus(new Headers(), error));
  delete metadata['grpc-status'];
  delete metadata['grpc-message'];
  return metadata;
}

test('details are kept: an error has the violations that the agent sent', () => {
  const value = create(ValidationFailureSchema, { violations: [{ path: 'services[0].name', reason: 'empty' }] });
  const sent = new ConnectError('not valid: größe', Code.InvalidArgument, undefined, [
    { desc: ValidationFailureSchema, value },
  ]);
  const error = fromRpcFailure({ code: 3, message: 'not valid: größe', metadata: trailerOf(sent) });
  expect(error).toMatchObject({ code: Code.InvalidArgument, rawMessage: 'not valid: größe' });
  const told = toAgentError(error, parseTarget('unix:/run/m.sock'));
  expect(told).toMatchObject({ code: 'invalid', violations: [{ path: 'services[0].name', reason: 'empty' }] });
});

test.each([
  [404, Code.Unimplemented, 'HTTP 404'],
  [502, Code.Unavailable, 'HTTP 502'],
  [401, Code.Unauthenticated, 'HTTP 401'],
  [0, Code.Unavailable, 'the connection broke off before the agent had answered: try again'],
])('status %i of HTTP is told as gRPC tells it', (status, code, rawMessage) => {
  const message = `Http response at 400 or 500 level, http status code: ${status}`;
  expect(fromRpcFailure({ code: 2, message })).toMatchObject({ code, rawMessage });
});

test.each([
  ['a code that gRPC does not know', { code: 99, message: 'x' }, Code.Internal],
  ['no number', { code: Number.NaN, message: 'x' }, Code.Internal],
  ['a failure that says all is well', { code: 0, message: 'x' }, Code.Internal],
  ['half a character', { code: 5, message: 'a\ud800b' }, Code.NotFound],
  ['details that are none', { code: 5, message: 'x', metadata: { 'grpc-status-details-bin': '!' } }, Code.DataLoss],
])('what an agent should not send (%s) is an error like others', (_what, failure, code) => {
  expect(fromRpcFailure(failure)).toMatchObject({ name: 'ConnectError', code });
});

test('what can not be a header is left out', () => {
  const headers = headersOf({ good: 'a', 'bad name': 'b', '': 'c', line: 'd\re', wide: 'é✓' });
  expect([...headers]).toEqual([['good', 'a']]);
});
