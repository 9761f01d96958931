// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { MESH_COLOURS } from '../desktop/mesh-colour.js';

const css = readFileSync(path.join(import.meta.dirname, 'tokens.css'), 'utf8');

function tokens(theme: string): Readonly<Record<string, string>> {
  const [, block = ''] = new RegExp(`\\[data-theme="${theme}"\\] \\{([^}]*)\\}`).exec(css) ?? [];
  return Object.fromEntries(
    [...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]),
  );
}

/** WCAG 2.2, relative luminance. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [light = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

describe.each(['dark', 'light'])('the %s theme', (theme) => {
  const of = tokens(theme);
  const pair = (one: string, other: string): number => contrast(of[one] ?? '#000000', of[other] ?? '#000000');

  test('has text that can be read on what it stands on', () => {
    const texts = ['ground', 'surface', 'raised'].flatMap((on) => [['text', on] as const, ['muted', on] as const]);
    const tones = ['good', 'warn', 'bad', 'info'].map((tone) => [tone, `${tone}-ground`] as const);
    const others = [
      ['link', 'surface'],
      ['link', 'ground'],
      ['link', 'raised'],
      ['side-text', 'side'],
      ['side-text', 'side-active'],
      ['accent-text', 'accent'],
      ['danger-text', 'danger'],
      ['text', 'info-ground'],
      ['link', 'info-ground'],
      ['good', 'ground'],
      ['warn', 'ground'],
      ['bad', 'ground'],
    ] as const;
    const low = [...texts, ...tones, ...others].filter(([one, other]) => pair(one, other) < 4.5);
    expect(low).toEqual([]);
  });

  test('has edges, lines of charts and a focus that can be seen', () => {
    const edges = [
      ['edge', 'surface'],
      ['edge', 'ground'],
      ['focus', 'surface'],
      ['focus', 'ground'],
      ['series-1', 'surface'],
      ['series-2', 'surface'],
      ...Array.from({ length: MESH_COLOURS }, (_, i) => [`mesh-${i}`, 'surface'] as const),
    ] as const;
    expect(edges.filter(([one, other]) => pair(one, other) < 3)).toEqual([]);
  });
});
