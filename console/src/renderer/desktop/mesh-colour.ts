// SPDX-License-Identifier: Apache-2.0
/** A colour for each mesh, by its name: always the same one, here and at others. Names are shown beside, as there are more meshes than colours. */

/** As many as tokens.css has. */
export const MESH_COLOURS = 8;

/** FNV-1a (32 bits), to 0..MESH_COLOURS - 1. */
export function meshColour(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return ((hash ^ (hash >>> 16)) >>> 0) % MESH_COLOURS;
}
