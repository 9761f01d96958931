// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { HandshakeGate } from './handshake-gate.js';

describe('handshakes at once', () => {
  it('are bounded per source, and in all', () => {
    const gate = new HandshakeGate({ handshakesMax: 3, handshakesPerSourceMax: 2 });
    const leave = gate.enter('a');
    expect(gate.enter('a')).toBeDefined();
    expect(gate.enter('a')).toBeUndefined();
    expect(gate.enter('b')).toBeDefined();
    expect(gate.enter('b')).toBeUndefined();
    leave?.();
    // Twice is once: the end of a handshake is told by success and by the end of the connection.
    leave?.();
    expect(gate.enter('a')).toBeDefined();
    expect(gate.enter('c')).toBeUndefined();
  });
});
