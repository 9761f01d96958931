// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shellLine, withInput } from './shell.js';

test('a shell has the same words, whatever is in them', () => {
  // NUL can be in no word of a shell.
  const words = fc.array(fc.array(fc.string({ unit: fc.constantFrom(...` '"$\`\\!*a-\n\t;&|`), maxLength: 8 })), {
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(words, (lines) => {
      const script = lines.map((line) => `printf '<%s>' ${shellLine(...line, 'end')}`).join('\n');
      const wanted = lines.map((line) => [...line, 'end'].map((word) => `<${word}>`).join('')).join('');
      expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' })).toBe(wanted);
    }),
    { numRuns: 20 },
  );
});

test('a text that has the mark itself is read whole', () => {
  const text = "name: '$HOME'\nEOF\n`id`\n";
  expect(execFileSync('sh', ['-c', withInput('cat', text)], { encoding: 'utf8' })).toBe(text);
});
