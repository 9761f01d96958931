// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { advisoriesOf, isAffected, lockedPackages } from './advisories.mjs';

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'advisories-'));
  mkdirSync(join(directory, 'npm/@scope/one'), { recursive: true });
  writeFileSync(
    join(directory, 'npm/@scope/one/CVE-2026-1.yml'),
    'identifier: "CVE-2026-1"\ntitle: "it falls over"\npubdate: "2026-08-14"\naffected_range: ">=1.0.0 <1.2.3||=2.0.0"\n',
  );
});

afterAll(() => rmSync(directory, { recursive: true }));

test('packages come by their own names and versions, those of this repository not', () => {
  const lockFile = join(directory, 'package-lock.json');
  const packages = {
    '': { name: 'marcher' },
    'shared/swim': { name: '@marcher/swim', version: '0.1.0' },
    'node_modules/@marcher/swim': { link: true },
    'node_modules/@scope/one': { version: '1.2.2' },
    'node_modules/two/node_modules/@scope/one': { version: '1.2.3' },
    'node_modules/alias': { name: '@scope/one', version: '2.0.0' },
  };
  writeFileSync(lockFile, JSON.stringify({ packages }));
  expect(lockedPackages(lockFile)).toEqual(new Map([['@scope/one', new Set(['1.2.2', '1.2.3', '2.0.0'])]]));
});

test('advisories of a package, and whom they are about', () => {
  const [advisory] = advisoriesOf(directory, '@scope/one');
  expect(advisory).toMatchObject({ id: 'CVE-2026-1', title: 'it falls over', published: '2026-08-14' });
  const affected = (version: string): boolean => isAffected(version, advisory?.range ?? '');
  expect(['0.9.0', '1.0.0', '1.2.2', '1.2.3', '2.0.0', '2.0.1'].map(affected)).toEqual([
    ...[false, true, true, false, true, false],
  ]);
  expect(advisoriesOf(directory, 'two')).toEqual([]);
});

test('a range that cannot be read is not passed over', () => {
  expect(isAffected('1.0.0', 'all of them')).toBe(true);
});
