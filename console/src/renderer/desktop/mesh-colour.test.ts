// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { addressOf, meshOf } from './mesh-address.js';
import { MESH_COLOURS, meshColour } from './mesh-colour.js';

test('a mesh has the same colour everywhere, and all colours are used', () => {
  expect(['local', 'prod', 'lab', 'staging'].map(meshColour)).toMatchInlineSnapshot(`
    [
      3,
      2,
      4,
      1,
    ]
  `);
  const used = new Set(Array.from({ length: 400 }, (_, i) => meshColour(`mesh-${i}`)));
  expect([...used].sort()).toEqual(Array.from({ length: MESH_COLOURS }, (_, i) => i));
});

test('another mesh begins at the same page, without what is of this one', () => {
  expect(addressOf('lab', '#/services/web?q=eu')).toBe('/?mesh=lab#/services');
  expect(addressOf('lab', '')).toBe('/?mesh=lab#/dashboard');
  expect(meshOf(new URL('app://agent/?mesh=lab#/services').search)).toBe('lab');
  expect(meshOf('')).toBeUndefined();
});
