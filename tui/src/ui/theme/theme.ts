// SPDX-License-Identifier: Apache-2.0
/**
 * How the console looks on this terminal: 16 colours, or none; Unicode, or ASCII. Painted pieces are whole: each begins with
 * its attributes and ends with what takes them back, so that they can be put side by side in any order.
 */
import { hasUnicode } from '../../locale.js';
import { plain } from './plain.js';

export type Tone = 'normal' | 'dim' | 'strong' | 'good' | 'warn' | 'bad' | 'accent' | 'head' | 'chosen' | 'marked';

/** What takes an attribute back. */
const ENDING: Readonly<Record<string, string>> = {
  ...{ '1': '22', '2': '22', '7': '27' },
  ...{ '31': '39', '32': '39', '33': '39', '34': '39', '36': '39' },
};

interface Sequences {
  readonly begin: string;
  readonly end: string;
}

/** Select Graphic Rendition parameters (ECMA-48, 8.3.117) with colours, and without. */
const coloured = sequences({
  normal: '',
  dim: '2',
  strong: '1',
  good: '32',
  warn: '33',
  bad: '31',
  accent: '36',
  head: '1;34',
  chosen: '7',
  marked: '1;33',
});
const colourless = sequences({
  ...{ normal: '', dim: '', strong: '1', good: '', warn: '1', bad: '1' },
  ...{ accent: '', head: '1', chosen: '7', marked: '1' },
});

export interface Glyphs {
  readonly ellipsis: string;
  readonly rule: string;
  readonly crumb: string;
  readonly ascending: string;
  readonly descending: string;
  readonly more: string;
  /** Stands for a character that nobody is to see. */
  readonly hidden: string;
  /** Of trees. */
  readonly branch: string;
  readonly lastBranch: string;
  readonly trunk: string;
  /** From nothing to all. */
  readonly bars: readonly string[];
}

const unicode: Glyphs = {
  ...{ ellipsis: '…', rule: '─', crumb: '›', ascending: '↑', descending: '↓', more: '·', hidden: '•' },
  ...{ branch: '├─', lastBranch: '└─', trunk: '│ ' },
  bars: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
};
const asciiOnly: Glyphs = {
  ...{ ellipsis: '~', rule: '-', crumb: '>', ascending: '^', descending: 'v', more: '|', hidden: '*' },
  ...{ branch: '|-', lastBranch: '`-', trunk: '| ' },
  bars: ['_', '.', ':', '-', '=', '+', '*', '#'],
};

export interface Theme {
  readonly ascii: boolean;
  readonly glyphs: Glyphs;
  paint(tone: Tone, text: string): string;
  /** Of what comes from elsewhere. */
  plain(text: string): string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function createTheme(env: Environment): Theme {
  const ascii = !hasUnicode(env);
  const codes = env['NO_COLOR'] ? colourless : coloured;
  return {
    ascii,
    glyphs: ascii ? asciiOnly : unicode,
    paint(tone, text) {
      const { begin, end } = codes[tone];
      return text === '' ? text : begin + text + end;
    },
    plain: (text) => plain(text, ascii),
  };
}

function sequences(tones: Readonly<Record<Tone, string>>): Readonly<Record<Tone, Sequences>> {
  const sequence = (codes: readonly (string | undefined)[]): string => `\u001b[${codes.join(';')}m`;
  const of = (codes: string): Sequences =>
    codes === ''
      ? { begin: '', end: '' }
      : {
          begin: sequence([codes]),
          end: sequence(
            codes
              .split(';')
              .reverse()
              .map((code) => ENDING[code]),
          ),
        };
  return Object.fromEntries(Object.entries(tones).map(([tone, codes]) => [tone, of(codes)])) as Record<Tone, Sequences>;
}
