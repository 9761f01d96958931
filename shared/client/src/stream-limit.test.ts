// SPDX-License-Identifier: Apache-2.0
import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { AgentError } from './agent-error.js';
import { isStreamLimit, StreamLimitReached } from './stream-limit.js';

test('what this side has ended is told from what has failed, wherever in the causes it is', () => {
  const limit = new StreamLimitReached(4 << 20);
  expect(isStreamLimit(limit)).toBe(true);
  expect(isStreamLimit(new AgentError('unavailable', 'open it again', [], limit))).toBe(true);
  const failed = new ConnectError('the agent ends', Code.Unavailable);
  expect(isStreamLimit(failed)).toBe(false);
  expect(isStreamLimit(new AgentError('unavailable', 'the agent ends', [], failed))).toBe(false);
});
