// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

/**
 * What leaves nothing behind, in modules or in the process: a process takes one file after the other, and loads what they import
 * once.
 */
const shared = [
  'shared/*/src/**/*.test.ts',
  'agent/src/{domain,application,mesh,simulation}/**/*.test.ts',
  'agent/src/adapters/outbound/{access,identity,sqlite}/**/*.test.ts',
  'agent/src/*.test.ts',
  'console/src/{entry,gateway,main,preload,renderer,wire}/**/*.test.ts',
  'tui/src/ui/*/**/*.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    // One more than the CPUs of a small machine: some files mostly wait.
    maxWorkers: 3,
    testTimeout: 20_000,
    passWithNoTests: false,
    projects: [
      {
        extends: true,
        test: {
          name: 'each',
          include: ['{agent,tui,console,e2e,bench}/src/**/*.test.ts', 'scripts/**/*.test.ts'],
          exclude: shared,
        },
      },
      { extends: true, test: { name: 'shared', include: shared, isolate: false } },
    ],
  },
});
