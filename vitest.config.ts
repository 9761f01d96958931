// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

/** What computes and keeps nothing of its own in modules: a process takes one file after the other. */
const pure = ['shared/*/src/**/*.test.ts', 'agent/src/domain/**/*.test.ts', 'agent/src/application/**/*.test.ts'];

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
          exclude: pure,
        },
      },
      { extends: true, test: { name: 'pure', include: pure, isolate: false } },
    ],
  },
});
