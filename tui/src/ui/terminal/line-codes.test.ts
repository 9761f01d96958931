// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { LineCodes } from './line-codes.js';

test('what stands for a line becomes the line, with what is around it', () => {
  const codes = new LineCodes();
  const [one, other] = [codes.of('\u001b[1mone\u001b[22m'), codes.of('other \u{f0000}')];
  expect([...one]).toHaveLength(1);
  expect(codes.of('\u001b[1mone\u001b[22m')).toBe(one);
  expect(codes.written(`\u001b[1G\u001b[K${one}\n${other}`)).toBe(
    '\u001b[1G\u001b[K\u001b[1mone\u001b[22m\nother \u{f0000}',
  );
});

test('lines that are in every frame keep their character, however many others come and go', () => {
  const codes = new LineCodes();
  const header = codes.of('header');
  for (let frame = 0; frame < 500; frame++) {
    expect(codes.of('header')).toBe(header);
    const lines = Array.from({ length: 200 }, (_, row) => `${frame} ${row}`);
    const shown = lines.map((line) => codes.of(line));
    expect(codes.written(shown.join('\n'))).toBe(lines.join('\n'));
  }
});
