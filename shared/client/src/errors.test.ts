// SPDX-License-Identifier: Apache-2.0
import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { toAgentError } from './errors.js';
import { parseTarget } from './target.js';

test('an agent that has a call says itself why it does not serve it; of a path that is not there we say what that means', () => {
  const target = parseTarget('unix:/run/m.sock');
  const told = toAgentError(new ConnectError('this agent was started without that', Code.Unimplemented), target);
  expect(told).toMatchObject({ code: 'unimplemented', message: 'this agent was started without that' });
  const absent = toAgentError(new ConnectError('HTTP 404', Code.Unimplemented), target);
  expect(absent).toMatchObject({ code: 'unimplemented' });
  expect(absent.message).toMatch(/^unix:\/run\/m\.sock does not know this call/);
});
