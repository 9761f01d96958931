// SPDX-License-Identifier: Apache-2.0
/** Failures on the way to an agent by SSH, and text of servers in them. */
import { AgentError, type AgentErrorCode } from '../errors.js';

/**
 * 'unreachable': nobody answers, or the connection is gone; 'untrusted': the server's key is not the one that is known;
 * 'denied': it lets nobody in; 'failed': a file here says what can't be followed.
 */
export function sshError(
  code: Extract<AgentErrorCode, 'unreachable' | 'untrusted' | 'denied' | 'failed'>,
  message: string,
  cause?: unknown,
): AgentError {
  return new AgentError(code, message, [], cause);
}

/** What a server said, without what could drive a terminal, and not more of it than a person reads. */
export function plainText(text: string, lengthMax = 300): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim();
  return plain.length <= lengthMax ? plain : `${plain.slice(0, lengthMax)}…`;
}
