// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export const NODE_A = '00000000000000a1';
export const NODE_B = '00000000000000b2';

/** Gone when the test is. */
export function testDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'marcher-identity-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
