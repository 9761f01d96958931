// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, test } from 'vitest';
import { foldLine, type Line, type Piece, paintLine, piece, textOf } from './line.js';
import { plain } from './plain.js';
import { sparkline } from './sparkline.js';
import { createTheme, type Tone } from './theme.js';
import { cut, fit, fold, widthOf } from './width.js';

describe('widths', () => {
  test('wide characters take two cells, combining marks and joiners none', () => {
    expect(widthOf('日本')).toBe(4);
    expect(widthOf('e\u0301')).toBe(1);
    expect(widthOf('👩‍👩‍👧')).toBe(2);
  });

  test('what a theme draws with takes one cell each, as everywhere', () => {
    const drawn = ['·•…›', '←↑→↓', span(0x20, 0x7e), span(0x2500, 0x259f), span(0x2800, 0x28ff)].join('');
    for (const character of drawn) expect([character, widthOf(character)]).toEqual([character, stringWidth(character)]);
    expect(widthOf(drawn)).toBe(drawn.length);
    expect(stringWidth(drawn)).toBe(drawn.length);
  });

  test('a wide character that does not fit whole is left out', () => {
    expect(cut('日本', 3)).toBe('日');
    expect(fit('日本', 3)).toBe('日 ');
  });

  test('a line is exactly as wide as it has to be, whatever agents say', () => {
    const theme = createTheme({ LANG: 'C.UTF-8' });
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.string({ unit: 'binary' }),
        fc.integer({ min: 1, max: 60 }),
        (one, other, width) => {
          expect(widthOf(bare(paintLine(theme, [one, { text: other, tone: 'bad' }], width)))).toBe(width);
          expect(widthOf(fit(plain(other), width, 'right', '…'))).toBe(width);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('a line that goes on below has all of its text and tones, and is nowhere too wide', () => {
    const theme = createTheme({ LANG: 'C.UTF-8' });
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' })).map((each) => plain(each));
    const pieces = fc.record({ text, tone: fc.constantFrom<Tone>('bad', 'good', 'dim') });
    const told = (part: Piece): string[] => [...part.text].map((character) => `${part.tone} ${character}`);
    const all = (line: Line): string[] => line.flatMap((part) => (typeof part === 'string' ? [] : told(part)));
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 1, maxLength: 4 }), fc.integer({ min: 8, max: 60 }), (line, width) => {
        const lines = foldLine(theme, line, width);
        for (const each of lines) expect(widthOf(textOf(each))).toBeLessThanOrEqual(width);
        expect(lines.flatMap(all)).toEqual(line.flatMap(told));
      }),
    );
  });

  test('it is broken between words, and goes on under what follows the title', () => {
    const theme = createTheme({ LANG: 'C.UTF-8' });
    const shown = (line: Line): string[] => foldLine(theme, line, 20).map(textOf);
    expect(shown([piece('dim', 'Why   '), 'no route to the backend'])).toEqual([
      'Why   no route to ',
      '      the backend',
    ]);
    expect(shown(['  address: 192.0.2.1:8080'])).toEqual(['  address: ', '    192.0.2.1:8080']);
    expect(shown(['a'.repeat(30)])).toEqual(['a'.repeat(18), `  ${'a'.repeat(12)}`]);
    expect(fold('日本語', 4)).toEqual(['日本', '語']);
  });
});

describe('what agents say', () => {
  test('drives no terminal, and takes one line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(plain(text)).not.toMatch(/\p{Control}/u);
      }),
    );
    expect(plain('a\u001b]0;title\u0007b\nc')).toBe('a\ufffd]0;title\ufffdb c');
  });

  test('can not look like another name by turning the direction of writing', () => {
    expect(plain('ab\u202ecd\u200b')).toBe('ab\ufffdcd\ufffd');
  });

  test('has nothing that makes the character before it wider in some terminals', () => {
    expect(plain('🏳\ufe0f👍\u{1f3fd}a\ufe0e')).toBe('🏳👍a');
  });

  test('is ASCII where the terminal has no more', () => {
    for (const env of [{ LANG: 'C' }, { LANG: 'C.UTF-8', TERM: 'linux' }, { LANG: 'de_DE.UTF-8', LC_ALL: 'POSIX' }]) {
      const theme = createTheme(env);
      expect(theme.plain('grün')).toBe('gr?n');
      expect(Object.values(theme.glyphs).flat().join('')).toMatch(/^[\x20-\x7e]*$/);
    }
  });
});

describe('a sparkline', () => {
  const bars = ['_', '1', '2', '3'];
  test('is as high as its highest value, and what is above nothing is seen', () => {
    expect(sparkline([0, 0.001, 50, 100], 4, bars)).toBe('_123');
    expect(sparkline([0, 0], 4, bars)).toBe('  __');
    expect(sparkline([1, 2, 3, 4, 5], 2, bars)).toHaveLength(2);
  });
});

function bare(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what begins a colour
  return line.replace(/\u001b\[[0-9;]*m/g, '');
}

function span(first: number, last: number): string {
  return String.fromCodePoint(...Array.from({ length: last - first + 1 }, (_, i) => first + i));
}
