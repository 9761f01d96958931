// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { locateViolations, parseConfiguration } from './parse.js';
import { YamlParts } from './yaml-parts.js';
import { parseYamlText } from './yaml-text.js';

const scalar = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.constantFrom('http://h/?a=1&b=2', '^ok.*$', 'a & b', '&a', '*a', 'R&D'),
  fc.constantFrom('- a', 'a\n- b\n', 'a: b', '# no comment', 'services:', '  - x', '"', "'", 'long '.repeat(40)),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof({ maxDepth: 3 }, scalar, tie('list'), tie('map')),
  list: fc.array(tie('any'), { maxLength: 3 }),
  map: fc.dictionary(fc.constantFrom('name', 'listeners', 'services', 'a b'), tie('any'), { maxKeys: 3 }),
}));
const documents = fc
  .record({
    before: fc.constantFrom(
      {},
      { apiVersion: 'marcher/v1' },
      { trafficPolicies: [{ name: 'a' }, 'services:'] },
      { note: 'a\nservices:\n  - b\n' },
    ),
    services: fc.array(value.any, { minLength: 1, maxLength: 6 }),
    after: fc.constantFrom({}, { zone: ['a', { b: 1 }] }, { guards: ['- x', { rules: [{ ports: [1, '2-3'] }] }] }),
    indentSeq: fc.boolean(),
    defaultStringType: fc.constantFrom('PLAIN', 'QUOTE_DOUBLE', 'BLOCK_LITERAL', 'BLOCK_FOLDED'),
    lineWidth: fc.constantFrom(20, 80),
    crlf: fc.boolean(),
  })
  .map(({ before, services, after, crlf, ...options }) => {
    const text = stringify({ ...before, services, ...after }, {
      aliasDuplicateObjects: false,
      defaultKeyType: 'PLAIN',
      ...options,
    } as object);
    return crlf ? text.replaceAll('\n', '\r\n') : text;
  });

/**
 * Whether a comment stands further left than what the line before it says. When a plain scalar of several lines follows, the
 * library takes all lines to the end of the text for more of that scalar, whatever their indentation (YAML 1.2.2, section
 * 7.3.3, ends it); in parts only those to the end of the part. What it says of the whole is no measure then.
 */
const hasCommentFurtherLeft = (text: string): boolean => {
  let before = 0;
  return text.split(/\r?\n/).some((line) => {
    const indent = line.search(/\S/);
    if (indent === -1) return false;
    if (line[indent] === '#') return indent < before;
    before = line.search(/[^\s-]|-(?!\s)/);
    return false;
  });
};

const sameAsWhole = (text: string): 'same' | 'left' => {
  const data = YamlParts.of(text)?.read(1);
  if (data === undefined) return 'left';
  const whole = parseYamlText(text);
  expect(whole.violations).toEqual([]);
  expect(whole.documents).toEqual([data]);
  return 'same';
};

describe('a YAML text read in parts', () => {
  test('says what it says as a whole', () => {
    let same = 0;
    fc.assert(
      fc.property(documents, (text) => {
        if (sameAsWhole(text) === 'same') same++;
      }),
      { numRuns: 1_000 },
    );
    expect(same).toBeGreaterThan(500);
  });

  test('says so too after any edit, or is left to be read as a whole', () => {
    const edit = fc.tuple(
      fc.nat(),
      fc.nat(12),
      fc.constantFrom(
        '',
        ' ',
        '  ',
        '\n',
        '- ',
        '\n- ',
        '"',
        "'",
        '[',
        '}',
        ':',
        '#',
        '|',
        'services:\n',
        '\t',
        '?',
        '&',
        '*',
        '&a ',
        '*a',
        '<<: *a',
      ),
    );
    let same = 0;
    fc.assert(
      fc.property(documents, fc.array(edit, { minLength: 1, maxLength: 3 }), (text, edits) => {
        let changed = text;
        for (const [place, remove, insert] of edits) {
          const at = place % (changed.length + 1);
          changed = changed.slice(0, at) + insert + changed.slice(at + remove);
        }
        if (!hasCommentFurtherLeft(changed) && sameAsWhole(changed) === 'same') same++;
      }),
      { numRuns: 4_000 },
    );
    expect(same).toBeGreaterThan(300);
  });

  test.each([
    ['a query', 'services:\n  - "http://h/?a=1&b=2"\n  - http://h/?a=1&b=2\n'],
    ['a pattern', 'services:\n  - ^ok.*$\n  - "[a-z_]* b"\n'],
    ['a lone one in a text or comment', 'services:\n  - a & b # x * y\n'],
  ])('takes & and * of %s for what they are', (_what, text) => {
    expect(sameAsWhole(text)).toBe('same');
  });

  test('takes comments in the first column for comments, between services and within one', () => {
    expect(sameAsWhole('services:\n  - a: 1\n#   b: 2\n    c: 3\n# next\n  - d: 4\n#  - e: 5\n')).toBe('same');
  });

  const name = fc.constantFrom('a', 'a1', '-', 'ä', '"', '&', '*');
  const before = fc.constantFrom(
    ' ',
    '\t',
    '- ',
    '? ',
    ': ',
    '[',
    '{',
    ', ',
    ',',
    ':',
    '!t ',
    '"k":',
    "'k':",
    '\n',
    '=',
    'x',
    '.',
  );
  test('takes no anchor or alias for something else, wherever one may stand', () => {
    const piece = fc
      .tuple(before, fc.constantFrom('&', '*'), name, fc.constantFrom('', ' 1', ': 1', ']', '}', '\n'))
      .map((all) => all.join(''));
    const text = fc
      .array(fc.oneof(piece, fc.constantFrom('a: ', 'b', '  - ', '\n  - ', '\n    ', '<<: ', '&a x', '*a')), {
        maxLength: 8,
      })
      .map((all) => `services:\n  - b\n  - ${all.join('')}\n`);
    let same = 0;
    fc.assert(
      fc.property(text, (one) => {
        if (sameAsWhole(one) === 'same') same++;
      }),
      { numRuns: 20_000 },
    );
    expect(same).toBeGreaterThan(100);
  });

  test.each([
    ['anchors', 'services:\n  - { health: &h {} }\n  - { health: *h }\n'],
    ['several documents', 'services:\n  - a\n---\nservices:\n  - b\n'],
    ['a quoted text that holds a line like an item', 'services:\n  - "a\n  - b"\n'],
    ['a flow collection that holds one', 'services:\n  - [a,\n  - b]\n'],
    ['an explicit key', 'services:\n- ? a: b\n    c: d\n  - "  \n {}\n- e\n'],
    ['a value beside the items', 'services:\n  - a\n null\n'],
    ['no items', 'services: []\n'],
    ['two headings', 'services:\n  - a\nservices:\n  - b\n'],
    ['a heading in a quoted text', 'note: "\nservices:\n  - a\n"\n'],
  ])('is left to be read as a whole with %s', (_what, text) => {
    expect(YamlParts.of(text)?.read()).toBeUndefined();
  });

  const many = (line: string, before = '') => {
    const service = (i: number) =>
      `  - name: s${i}\n    listeners: [{ port: ${i + 1} }]\n    backends: [{ address: "10.0.0.1:80" }]\n`;
    const all = Array.from({ length: 3_000 }, (_, i) => service(i));
    return `apiVersion: marcher/v1\n${before}services:\n${all.join('')}${line}`;
  };

  test('gives a large configuration', () => {
    const { configuration } = parseConfiguration(many(''));
    expect(configuration?.services.map(({ name }) => name)).toEqual(Array.from({ length: 3_000 }, (_, i) => `s${i}`));
  });

  test.each([
    ['a field that there is not', '  - name: x\n    listenrs: []\n', 'services[3000].listenrs', 9_004],
    ['bad syntax', '  - name: "x\n', '', 9_004],
    ['a field after the services', 'zone: a\n', 'zone', 9_003],
  ])('gives the line of a mistake in a large configuration: %s', (_what, line, path, number) => {
    const { violations } = parseConfiguration(many(line));
    expect(violations?.map((violation) => violation.path)).toContain(path);
    expect(violations?.find((violation) => violation.path === path)?.line).toBe(number);
  });

  test('gives the line of a mistake in the lists before and after a large one', () => {
    const before = 'guards:\n  - name: a\n    rules:\n      - action: deny\n      - action: drop\n';
    const after = 'trafficPolicies:\n  - name: gold\n  - name: silver\n    ingress: { rate: fast }\n';
    const { violations } = parseConfiguration(many(after, before));
    expect(violations?.map(({ path, line, column }) => [path, line, column])).toEqual([
      ['guards[0].rules[1].action', 6, 9],
      ['trafficPolicies[1].ingress.rate', 9_011, 16],
    ]);
    const found = ['guards[0].rules[1].action', 'services[2999].name', 'trafficPolicies[1].name'].map((path) => ({
      path,
      reason: '',
      fix: '',
    }));
    expect(locateViolations(many(after, before), found).map(({ line }) => line)).toEqual([6, 9_005, 9_010]);
  });

  test('locates as the whole does', () => {
    fc.assert(
      fc.property(documents, fc.nat(6), fc.constantFrom('name', 'listeners', 'services', 0, 1), (text, item, field) => {
        const parts = YamlParts.of(text);
        if (parts?.read() === undefined) return;
        const whole = parseYamlText(text);
        const here = item < (whole.documents[0] as { services: unknown[] }).services.length;
        for (const path of [
          ['services'],
          ['apiVersion'],
          ['zone', 1, 'b'],
          ['guards', 1, 'rules', 0, 'ports', 1],
          ['trafficPolicies', 0, 'name'],
          ...(here ? [['services', item, field]] : []),
        ]) {
          expect(parts.locate(path)).toEqual(whole.locate(0, path));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  describe('too large to be read as a whole', () => {
    const huge = (line: string, at: number) => {
      const service = (i: number) =>
        `  - name: s${i}\n    listeners: [{ port: 80 }]\n    backends: [] # ${'-'.repeat(1_000)}\n`;
      const all = Array.from({ length: 9_000 }, (_, i) => service(i) + (i === at ? line : ''));
      return `apiVersion: marcher/v1\nservices:\n${all.join('')}`;
    };

    test.each([
      ['a field that there is not', '    colour: red\n', 'services[7000].colour', 21_006],
      ['a quote that is not closed', '    labels: { a: "b }\n', '', 21_007],
      ['bad syntax that hides an item', '    labels: { a: b\n', '', 21_007],
    ])('says what is wrong, and where: %s', (_what, line, path, number) => {
      const { violations } = parseConfiguration(huge(line, 7_000), { source: 'c.yaml' });
      expect(violations?.[0]).toMatchObject({ path, line: number, source: 'c.yaml' });
    });

    test('other lists that are too large are not read either', () => {
      const rules = '      - { action: deny, sources: [192.0.2.1] }\n'.repeat(200_000);
      const text = `${huge('', 0)}guards:\n  - name: a\n    rules:\n${rules}`;
      const { violations } = parseConfiguration(text);
      expect(violations?.map(({ reason }) => reason)).toEqual([expect.stringContaining('can only be read as a whole')]);
    });

    test('is refused with a way out when only the whole could tell what it says', () => {
      const { violations } = parseConfiguration(huge('    labels: &a {}\n', 7_000));
      expect(violations).toHaveLength(1);
      expect(violations?.[0]?.fix).toContain('without anchors');
    });
  });
});
